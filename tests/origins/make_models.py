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
from old_networks import (  # noqa: E402
    IS_KERAS_3,
    KERAS,
    QUICK,
    SIZE,
    SMALL_MODELS,
    VERSION,
    end,
    flat,
    keras,
    randomise,
)

IMAGES = 4
WHOLE = ("h5", "keras", "v3.keras")
WEIGHTS = ("weights_only.h5", "weights.h5")
AS_GRAPHS = ("flat", "preprocess_tf", "augmented", "binary", "labels_14", "grey", "logits")
"""The small models that are saved as a SavedModel as well, which takes seconds each."""


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
