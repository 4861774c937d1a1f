"""What each figure means, in a sentence or two, for who meets it for the first time: on the page and in the docs.

`{reference}` and `{candidate}` stand for the networks as the reader knows them.
"""

from __future__ import annotations

from collections.abc import Mapping

EXPLANATIONS = {
    "Accuracy": "How many answers are right: those of {reference} before the arrow, those of {candidate} after it, "
    "on the same images.",
    "Drop": "The accuracy that was lost, in percentage points (pp). Less than zero is a gain.",
    "95% interval": "In square brackets, and the line of a strip: where the figure for all images of this "
    "kind probably lies. Such intervals contain it 95 times out of 100; with four times as many images they are half "
    "as wide.",
    "Strip": "The dot is what was measured, the line its 95% interval, the tinted part what the limit allows. The "
    "verdict is a pass if the whole line is in it, and a fail if none of it is; else there were too few images to "
    "tell.",
    "Bootstrap": "The interval of the drop computed in another way: from 10,000 random draws of the same answers.",
    "McNemar's p": "Looks only at answers that became right or became wrong: the probability of a difference at "
    "least as large as theirs if both networks were equally good. Below 0.05 it is hardly chance.",
    "Top 5": "Accuracy, where an answer counts as right if the true class is among the five most probable ones.",
    "Agreement": "How often both give the same answer, right or wrong. It needs no labels, and shows changes that "
    "accuracy hides because they cancel out.",
    "Whole set": "An answer is the whole set of labels: one label that changes is a change. Any single label agrees "
    "at least as often.",
    "Within the top 5": "How often the first class of {reference} is among the first five of {candidate}.",
    "Lead of 10 points": "Agreement on images where the first class of {reference} led by at least 10 percentage "
    "points. Most other changes are near ties: {reference} was in doubt itself.",
    "Lost, gained, still wrong": "Right before and wrong now; wrong before and right now; wrong both times, with "
    "another answer.",
    "Near tie, confident": "Whether {reference} gave its answer a lead of less than 10 percentage points, or of "
    "more. Users notice the confident ones.",
    "SQNR": "Signal-to-quantization-noise ratio, in decibels: how large the values are beside the error that was "
    "added to them. 6 dB more is half the error, 20 dB more a tenth. It tells recipes apart with far fewer images "
    "than agreement.",
    "Logits": "What the network says before its last step makes probabilities of it.",
    "Answers in steps": "Where answers are integers, all that they tell of the logits; less than the logits "
    "themselves.",
    "Cosine similarity": "Whether the logits of both point in the same direction, whatever their size. 1 is the same.",
    "Largest probability error": "The largest change of any probability, over all classes of all images.",
    "KL divergence": "How far the probabilities of an image are apart as a whole, in nats. 0 is equal.",
    "Expected calibration error": "How far the probability of an answer is from how often such answers are right. "
    "Less is better, and int8 should change it little. It has nothing to do with calibration images.",
    "Size": "Of the file, labels and preprocessing included. 1 MB is a million bytes.",
    "Time": "The median of one image on the CPU of this machine, the float network's measured in turns with it. A "
    "device differs: irv2-benchmark measures there.",
    "Change": "Of a class: how many more answers are right with {candidate} than with {reference}.",
    "Last column": "Of a class: the answers that changed, what {reference} said, and what {candidate} says instead. "
    "“right” is the class of the row.",
    "Accumulated SQNR": "Of a layer's output: the noise of all layers up to it.",
    "SQNR by itself": "The noise that the layer adds to what it was given. The lowest are the ones to keep in float.",
    "Range used": "How much of the range of its integers a layer's output fills. Little of it wastes steps.",
    "Saturated": "The part of the values that lie outside the range, and are cut off at its end.",
    "Activation ranges": "From the smallest to the largest value of each layer, which calibration finds. Where the "
    "curve is still rising at its end, more images help.",
    "Split-half difference": "How far the ranges that two halves of the calibration images give are apart. Where it "
    "is much, other images would give another network.",
    "Noisiest layer": "The layer whose own rounding costs most, by itself.",
    "Lowest accumulated": "Where the noise of all layers so far is largest beside the signal.",
    "Scales raised": "Filters of very small weights would need a bias beyond 32 bits; a larger step for their "
    "weights prevents that.",
    "Host to device": "Whether the device answers as this machine does, and where it does not, whether the images were "
    "prepared otherwise or the network was computed otherwise.",
    "Time of an image": "Preparing it and inference, on the device. Half of the images took no longer than p50, 95 of "
    "100 no longer than p95; the first one, which takes longer, is not among them.",
}
"""Name of a figure -> what it means."""
IN_GENERAL = ("the float network", "the quantized one")
"""What reference and candidate are where no report names them."""


def explained(reference: str, candidate: str) -> Mapping[str, str]:
    """Return `EXPLANATIONS` of two networks with these names."""
    return {name: text.format(reference=reference, candidate=candidate) for name, text in EXPLANATIONS.items()}
