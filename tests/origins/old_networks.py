"""Small networks of every kind that people make, and one large one's head, built by the running version of TensorFlow.

Runs where `make_models.py` does, which writes them.
"""

import sys

import numpy as np
import tensorflow as tf

keras = tf.keras
KERAS = str(getattr(keras, "__version__", tf.__version__))
VERSION = tuple(int(part) for part in KERAS.split(".")[:2])
IS_KERAS_3 = VERSION[0] == 3
SIZE, SMALL = 75, 32


def layer(name):
    """The class of a layer, which was experimental in old versions."""
    places = [keras.layers]
    if not IS_KERAS_3:
        places.append(keras.layers.experimental.preprocessing)
    return next(getattr(place, name) for place in places if hasattr(place, name))


# --- weights as if trained ---------------------------------------------------------------------------------------


def flat_layers(model):
    for each in model.layers:
        if hasattr(each, "layers"):
            yield from flat_layers(each)
        else:
            yield each


def randomise(model, seed=1):
    """Give every layer random weights under which activations neither vanish nor explode, and logits spread."""
    random = np.random.RandomState(seed)
    for each in flat_layers(model):
        if each.weights and type(each).__name__ != "Normalization" and not type(each).__name__.startswith("Random"):
            names = [weight.name.split("/")[-1].split(":")[0] for weight in each.weights]
            shapes = [tuple(weight.shape) for weight in each.weights]
            each.set_weights([random_weight(name, shape, random) for name, shape in map(tuple, zip(names, shapes))])  # noqa: B905
    return model


def random_weight(name, shape, random):
    if name in ("kernel", "pointwise_kernel"):
        fan_in, gain = np.prod(shape[:-1]), 2.0
        value = random.normal(0, np.sqrt(gain / fan_in), shape)
    elif name == "depthwise_kernel":
        value = random.normal(0, np.sqrt(2.0 / np.prod(shape[:2])), shape)
    elif name in ("gamma", "moving_variance"):
        value = random.uniform(0.6, 1.5, shape)
    else:  # bias, beta, moving_mean
        value = random.normal(0, 0.15, shape)
    return value.astype(np.float32)


# --- networks ----------------------------------------------------------------------------------------------------


def end(x, classes=5, activation="softmax", pooled=False):
    """The usual head."""
    if not pooled:
        x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(0.2, name="drop")(x)
    return keras.layers.Dense(classes, activation=activation, dtype="float32", name="head")(x)


def small_base(channels=3):
    """A convolutional base with a residual sum, named as users name theirs."""
    image = keras.Input((SMALL, SMALL, channels), name="base_image")
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(image)
    x = keras.layers.BatchNormalization(name="stem_bn")(x)
    x = keras.layers.ReLU(name="stem_relu")(x)
    y = keras.layers.Conv2D(8, 3, padding="same", name="branch")(x)
    y = keras.layers.BatchNormalization(name="branch_bn")(y)
    x = keras.layers.Activation("relu", name="sum_relu")(keras.layers.add([x, y], name="sum"))
    x = keras.layers.Conv2D(12, 3, name="last")(x)
    return keras.Model(image, keras.layers.ReLU(max_value=6.0, name="last_relu")(x), name="base")


def flat(**options):
    base = small_base()
    return keras.Model(base.input, end(base.output, **options))


def in_functional(frozen=False):
    base = small_base()
    base.trainable = not frozen
    image = keras.Input((SMALL, SMALL, 3))
    return keras.Model(image, end(base(image, training=False)))


def in_sequential(frozen=False):
    base = small_base()
    base.trainable = not frozen
    pool, dense = keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(5, activation="softmax", name="head")
    model = keras.Sequential([base, pool, dense])
    model.build((None, SMALL, SMALL, 3))
    return model


def plain_sequential():
    return keras.Sequential(
        [
            keras.layers.Conv2D(8, 3, activation="relu", input_shape=(SMALL, SMALL, 3)),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(12, 3, activation="relu", kernel_regularizer="l2"),
            keras.layers.Flatten(),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(5, activation="softmax", name="head"),
        ]
    )


def depthwise():
    image = keras.Input((SMALL, SMALL, 3))
    x = keras.layers.Conv2D(8, 1)(image)
    x = keras.layers.DepthwiseConv2D(3, use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.LeakyReLU(alpha=0.2)(x) if not IS_KERAS_3 else keras.layers.LeakyReLU(negative_slope=0.2)(x)
    x = keras.layers.SeparableConv2D(10, 3, strides=2, padding="same")(keras.layers.ZeroPadding2D()(x))
    x = keras.layers.ReLU(6.0)(x)
    return keras.Model(image, end(x))


def with_preprocess_input(module):
    image = keras.Input((SMALL, SMALL, 3))
    return keras.Model(image, end(small_base()(getattr(keras.applications, module).preprocess_input(image))))


def operators():
    """Arithmetic on tensors between the layers."""
    image = keras.Input((SMALL, SMALL, 3))
    x = image / 255.0
    x = (x - 0.5) * 2.0
    x = keras.layers.Conv2D(8, 3, padding="same")(x)
    y = keras.layers.Conv2D(8, 1)(x)
    x = x + y * 0.5
    x = keras.activations.relu(x) if IS_KERAS_3 else tf.nn.relu(x)
    return keras.Model(image, end(x))


def augmented(model_of_base=small_base):
    """The tutorials' transfer learning: augmentation, rescaling, a frozen base, a head."""
    augmentation = keras.Sequential(
        [layer("RandomFlip")("horizontal"), layer("RandomRotation")(0.1), layer("RandomZoom")(0.1)],
        name="augmentation",
    )
    base = model_of_base()
    base.trainable = False
    image = keras.Input(base.input_shape[1:])
    x = layer("Rescaling")(1 / 127.5, offset=-1)(augmentation(image))
    return keras.Model(image, end(base(x, training=False)))


def normalized(adapted=True):
    if adapted:
        normalization = layer("Normalization")()
        normalization.adapt(np.random.RandomState(3).normal((120, 110, 100), (60, 55, 50), (64, 4, 4, 3)))
    else:
        normalization = layer("Normalization")(mean=[120.0, 110.0, 100.0], variance=[3600.0, 3000.0, 2500.0])
    image = keras.Input((SMALL, SMALL, 3))
    return keras.Model(image, end(small_base()(normalization(image))))


def resized():
    image = keras.Input((48, 40, 3))
    x = layer("Rescaling")(1 / 127.5, offset=-1)(layer("Resizing")(SMALL, SMALL)(image))
    return keras.Model(image, end(small_base()(x)))


def grey(classes=5):
    base = small_base(channels=1)
    return keras.Model(base.input, end(base.output, classes))


def mixed():
    set_policy = getattr(keras, "mixed_precision", None)
    set_policy = set_policy.set_global_policy
    set_policy("mixed_float16")
    try:
        return flat()
    finally:
        set_policy("float32")


def two_dense():
    base = small_base()
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D(4)(base.output))
    x = keras.layers.BatchNormalization()(keras.layers.Dense(24, activation="relu")(x))
    return keras.Model(base.input, end(x, pooled=True))


def mobilenet_v2():
    image = keras.Input((SMALL, SMALL, 3))
    base = keras.applications.MobileNetV2((SMALL, SMALL, 3), alpha=0.35, include_top=False, weights=None)
    base.trainable = False
    x = keras.applications.mobilenet_v2.preprocess_input(image)
    return keras.Model(image, end(base(x, training=False)))


def efficientnet_b0():
    return keras.applications.EfficientNetB0(weights=None, input_shape=(SMALL, SMALL, 3), classes=5)


def scaled_sum():
    """The residual sum of keras.applications' Inception-ResNet-V2: a Lambda up to TensorFlow 2.11, a layer since."""
    image = keras.Input((SMALL, SMALL, 3))
    x = keras.layers.Conv2D(8, 3, name="mixed_5b")(image)
    branch = keras.layers.Conv2D(8, 1, name="block35_1_conv")(x)
    module = sys.modules[keras.applications.InceptionResNetV2.__module__]
    if hasattr(module, "CustomScaleLayer"):
        x = module.CustomScaleLayer(0.17)([x, branch])
    else:
        x = keras.layers.Lambda(
            lambda inputs, scale: inputs[0] + inputs[1] * scale,
            output_shape=tuple(x.shape[1:]),
            arguments={"scale": 0.17},
            name="block35_1",
        )([x, branch])
    return keras.Model(image, end(keras.layers.Activation("relu", name="block35_1_ac")(x)))


def hard_sigmoid():
    """Gates, with an activation that is another function in Keras 3."""
    image = keras.Input((SMALL, SMALL, 3))
    x = keras.layers.Conv2D(8, 3, strides=2)(image)
    gate = keras.layers.Conv2D(8, 1, activation="hard_sigmoid")(x)
    x = keras.layers.Activation("hard_sigmoid")(keras.layers.multiply([x, gate]))
    return keras.Model(image, end(x))


def shared():
    """One convolution called twice, branches of equal shapes side by side."""
    image = keras.Input((SMALL, SMALL, 3))
    x = keras.layers.Conv2D(8, 3, strides=2)(image)
    twice = keras.layers.Conv2D(8, 3, padding="same", activation="relu")
    branches = [keras.layers.Conv2D(8, 3, padding="same")(x) for _ in range(3)]
    branches[1] = keras.layers.Conv2D(8, 3, padding="same")(branches[1])
    return keras.Model(image, end(keras.layers.concatenate([twice(twice(x)), *branches])))


def end_inside():
    """A classifier whose head is inside the model that is nested in it."""
    image = keras.Input((SMALL, SMALL, 3))
    return keras.Model(image, flat()(image))


SMALL_MODELS = {
    # name: (maker, what it is fed, head)
    "flat": (flat, "tf", "softmax"),
    "logits": (lambda: flat(activation=None), "tf", "softmax"),
    "in_functional": (in_functional, "tf", "softmax"),
    "in_functional_frozen": (lambda: in_functional(True), "tf", "softmax"),
    "in_sequential": (in_sequential, "tf", "softmax"),
    "in_sequential_frozen": (lambda: in_sequential(True), "tf", "softmax"),
    "sequential": (plain_sequential, "tf", "softmax"),
    "two_dense": (two_dense, "tf", "softmax"),
    "depthwise": (depthwise, "tf", "softmax"),
    "preprocess_tf": (lambda: with_preprocess_input("inception_resnet_v2"), "none", "softmax"),
    "preprocess_caffe": (lambda: with_preprocess_input("resnet50"), "none", "softmax"),
    "preprocess_torch": (lambda: with_preprocess_input("densenet"), "none", "softmax"),
    "operators": (operators, "none", "softmax"),
    "augmented": (augmented, "none", "softmax"),
    "normalized": (normalized, "none", "softmax"),
    "normalized_given": (lambda: normalized(False), "none", "softmax"),
    "resized": (resized, "none", "softmax"),
    "mixed_float16": (mixed, "tf", "softmax"),
    "binary": (lambda: flat(classes=1, activation="sigmoid"), "tf", "binary"),
    "labels_14": (lambda: flat(classes=14, activation="sigmoid"), "tf", "independent"),
    "grey": (grey, "tf", "softmax"),
    "mobilenet_v2": (mobilenet_v2, "none", "softmax"),
    "efficientnet_b0": (efficientnet_b0, "none", "softmax"),
    "scaled_sum": (scaled_sum, "tf", "softmax"),
    "hard_sigmoid": (hard_sigmoid, "tf", "softmax"),
    "shared": (shared, "tf", "softmax"),
    "end_inside": (end_inside, "tf", "softmax"),
}
QUICK = (
    "flat",
    "in_functional_frozen",
    "in_sequential",
    "depthwise",
    "preprocess_tf",
    "augmented",
    "binary",
    "labels_14",
    "scaled_sum",
)
