"""What stands in front of a network: scaling, augmentation, resizing; taken off, so that a card can say it instead.

Layers before the first convolution often prepare the image: `Rescaling`, `Normalization`, `preprocess_input` as
operations of the graph. Each is affine in every channel, and so is the whole,

    y[c] = scale[c] * x[source[c]] + shift[c],

which is what a card's mean, std and channel order say: pixels then go straight into the first convolution. The graph is
followed from its image for as long as it is of this form, into nested models too, and cut at the last tensor that all
of the network depends on and that a card can express. Layers that move pixels but weigh them to a sum of 1 (a crop,
a resize) commute with that, and stay behind the new input as operators.
"""
