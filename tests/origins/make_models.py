"""Write small models in every form that the running version of TensorFlow can, and that version's own answers.

    python make_models.py FOLDER [--quick] [NAME ...]

Runs under TensorFlow 2.4 to current, Python 3.8 on, with nothing but TensorFlow and NumPy. FOLDER then holds

    NAME.FORM       each model in each form (a SavedModel is a folder)
    answers.npz     for each model NAME its `images` (uint8) as images_SIZExCHANNELS, and `NAME`: the logits,
                    what the softmax or the sigmoid at its end reads, float32 (N, classes)
    models.json     what each is: {"tensorflow", "keras", "models": {NAME: {...}}, "not_written": {FILE: reason}}

`inputs` in models.json says what the network is fed: "tf" for pixels / 127.5 - 1, "none" for pixels as they are.
"""

import json
import os
import shutil
import sys
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

keras = tf.keras
KERAS = str(getattr(keras, "__version__", tf.__version__))
VERSION = tuple(int(part) for part in KERAS.split(".")[:2])
IS_KERAS_3 = VERSION[0] == 3
SIZE, SMALL = 75, 32
IMAGES = 4
WHOLE = ("h5", "keras", "v3.keras")
WEIGHTS = ("weights_only.h5", "weights.h5")
AS_GRAPHS = ("flat", "preprocess_tf", "augmented", "binary", "labels_14", "grey", "logits")
"""The small models that are saved as a SavedModel as well, which takes seconds each."""


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


# --- writing -----------------------------------------------------------------------------------------------------


class Folder:
    """What is written into a folder, and the answers to it."""

    def __init__(self, path):
        self.path, self.answers, self.models, self.not_written = path, {}, {}, {}

    def add(self, name, model, fed, head, forms, save=None):
        """Write `model` in each of `forms`, and note its answers."""
        height, width, channels = model.input_shape[1:]
        key = f"images_{height}x{width}x{channels}"
        if key not in self.answers:
            random = np.random.RandomState(height + channels)
            self.answers[key] = random.randint(0, 256, (IMAGES, height, width, channels)).astype(np.uint8)
        logits = logits_of(model, feed(self.answers[key], fed))
        print(f"{name:24} logits {logits.shape}, spread {logits.std():.2f}", flush=True)
        assert np.isfinite(logits).all(), name
        assert 0.01 < logits.std() < 30, (name, logits.std())
        self.answers[name] = logits
        written = []
        for form in forms:
            file = f"{name}.{form}"
            try:
                (save or write)(model, os.path.join(self.path, file), form)
                written.append(form)
            except Exception as error:  # a form that this version cannot write
                self.not_written[file] = " ".join(str(error).split())[:200] or type(error).__name__
                target = os.path.join(self.path, file)
                (shutil.rmtree if os.path.isdir(target) else os.remove)(target) if os.path.exists(target) else None
        self.models[name] = {"forms": written, "images": key, "inputs": fed, "head": head, "classes": logits.shape[1]}

    def finish(self):
        np.savez(os.path.join(self.path, "answers.npz"), **self.answers)
        about = {"tensorflow": tf.__version__, "keras": KERAS, "models": self.models, "not_written": self.not_written}
        with open(os.path.join(self.path, "models.json"), "w") as file:
            json.dump(about, file, indent=1)


def feed(images, fed):
    pixels = images.astype(np.float32)
    return pixels / np.float32(127.5) - np.float32(1) if fed == "tf" else pixels


def logits_of(model, images):
    """What the activation at the end of `model` reads; its last layer is dense, or a model that is all of it."""
    last = model.layers[-1]
    if hasattr(last, "layers"):
        return logits_of(last, images)
    features = keras.Model(model.inputs, last.input)
    features = np.concatenate([np.asarray(features(image[None], training=False)) for image in images])
    kernel, bias = (np.asarray(weight, np.float64) for weight in last.get_weights())
    return (features.astype(np.float64) @ kernel + bias).astype(np.float32)


def save_serving_function(model, path):
    """Save what serves a request alone: Keras also saves every layer's own functions, which takes minutes."""
    module = tf.Module()
    module.parameters = model.variables
    image = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="image")
    serve = tf.function(lambda image: {"probabilities": model(image, training=False)}, input_signature=[image])
    tf.saved_model.save(module, path, signatures={"serving_default": serve.get_concrete_function()})


def write(model, path, form):
    """Save a whole model, or its weights."""
    if form == "saved_model":
        if IS_KERAS_3:
            model.export(path, verbose=False)
        elif model.count_params() > 1e7:
            save_serving_function(model, path)
        else:
            model.save(path, save_format="tf")
    elif form == "v3.keras":
        if VERSION != (2, 12):
            raise ValueError("written by Keras 2.12 alone under that name")
        try:
            model.save(path, save_format="keras_v3")
        finally:
            sys.modules["keras.saving.saving_lib"]._SAVING_V3_ENABLED.value = False  # or .keras is a zip from now on
    elif form in WEIGHTS:
        if form == "weights_only.h5" and IS_KERAS_3:
            raise ValueError("Keras 3 has .weights.h5 alone")
        model.save_weights(path)
    else:
        model.save(path)


def add_small(folder, names, whole):
    for number, name in enumerate(names):
        forms = whole + (("saved_model",) if name in AS_GRAPHS and whole == WHOLE else ())
        make, fed, head = SMALL_MODELS[name]
        try:
            model = randomise(make(), seed=number)
            if name == "mixed_float16":  # held against the same network in single precision
                same = flat()
                same.set_weights(model.get_weights())
                folder.add(name, same, fed, head, forms, lambda _, path, form, model=model: write(model, path, form))
                continue
        except (AttributeError, TypeError, ValueError, StopIteration) as error:
            folder.not_written[name] = repr(error)[:200]
            continue
        folder.add(name, model, fed, head, forms)


def add_inception_resnet_v2(folder, is_quick):
    """Add keras.applications' network: whole, flat and nested, and its weights with, without and under another top."""
    network = keras.applications.InceptionResNetV2
    base = randomise(network(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3)), seed=7)
    own = keras.Model(base.input, end(base.output), name="mine")
    own.layers[-1].set_weights(head_weights(5))
    own.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    folder.add("irv2", own, "tf", "softmax", ("h5", "keras") if is_quick else (*WHOLE, "saved_model", *WEIGHTS))

    base.trainable = False
    image = keras.Input((SIZE, SIZE, 3))
    x = keras.applications.inception_resnet_v2.preprocess_input(image)
    nested = keras.Model(image, end(base(x, training=False)))
    nested.layers[-1].set_weights(head_weights(5))
    if not is_quick:
        folder.add("irv2_nested", nested, "none", "softmax", ("h5", "keras", *WEIGHTS))
    sequential = keras.Sequential([base, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(5, "softmax")])
    sequential.build((None, SIZE, SIZE, 3))
    sequential.layers[-1].set_weights(head_weights(5))
    if is_quick:
        return
    folder.add("irv2_sequential", sequential, "tf", "softmax", WEIGHTS)
    for form in WEIGHTS:  # no classifier: its weights alone, whose answers are those of irv2 before its head
        name = f"irv2_notop.{form}"
        try:
            write(base, os.path.join(folder.path, name), form)
        except ValueError as error:
            folder.not_written[name] = str(error)[:200]
    top = randomise(network(weights=None, input_shape=(SIZE, SIZE, 3), classes=1000), seed=8)
    top.layers[-1].set_weights(head_weights(1000))
    folder.add("irv2_top", top, "tf", "softmax", WEIGHTS)
    pooled = network(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3), pooling="avg")
    pooled.set_weights(base.get_weights())
    pooled = keras.Model(pooled.input, end(pooled.output, pooled=True), name="pooled")
    pooled.layers[-1].set_weights(head_weights(5))
    folder.add("irv2_pooled", pooled, "tf", "softmax", WEIGHTS)


def head_weights(classes):
    random = np.random.RandomState(classes)
    return [w.astype(np.float32) for w in (random.normal(0, 0.05, (1536, classes)), random.normal(0, 0.2, classes))]


def main(path, is_quick, only):
    """Write all models, or those with the names `only`, or the few of the quick form."""
    os.makedirs(path, exist_ok=True)
    folder = Folder(path)
    if only:
        add_small(folder, only, WHOLE)
        return folder.finish()
    add_small(folder, QUICK if is_quick else list(SMALL_MODELS), ("h5", "keras") if is_quick else WHOLE)
    add_inception_resnet_v2(folder, is_quick)
    return folder.finish()


if __name__ == "__main__":
    main(sys.argv[1], "--quick" in sys.argv, [name for name in sys.argv[2:] if name != "--quick"])
