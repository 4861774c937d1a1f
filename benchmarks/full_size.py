"""Keras' InceptionResNetV2 at its full size, 299 px, fitted to the bundled clothes without training, for any version.

    python benchmarks/full_size.py FOLDER              # here: mine.keras, weights.npz, validation/ and labels.txt
    /old/python benchmarks/full_size.py FOLDER mine.h5 # under an old TensorFlow: the same network, in its form
    /old/python benchmarks/full_size.py FOLDER saved_model

then `irv2-convert --model FOLDER/mine.h5 --preprocessing tf --labels FOLDER/labels.txt --validation FOLDER/validation
--calibration calibration_data/calibration`. The kernels are random, the statistics of batch-normalizations come from 24
pictures, and the head is a ridge regression on 500: a fragile network of about 70 %, and the real size of everything.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
import tensorflow as tf

keras = tf.keras
SIZE, FITTED, BATCH, RIDGE, SHARPNESS = 299, 500, 4, 100.0, 8.0
SEEN_BY_BATCH_NORMS = 24


def network(classes):
    """Build the base and the classifier on it."""
    base = keras.applications.InceptionResNetV2(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(base.output))
    head = keras.layers.Dense(classes, activation="softmax", name="head")(x)
    return base, keras.Model(base.input, head, name="irv2_clothes")


def pictures(paths):
    """Read pictures as the network takes them, float32 (N, 299, 299, 3) in -1..1."""
    from PIL import Image

    read = (Image.open(path).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR) for path in paths)
    return np.stack([np.asarray(image, np.float32) / 127.5 - 1 for image in read])


def fit_base(base, images, random):
    """Give the base random kernels and, by one pass over the images, the statistics that belong to them."""
    for layer in base.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel, *bias = layer.get_weights()
            scale = np.sqrt(2 / np.prod(kernel.shape[:3]))
            layer.set_weights([random.normal(0, scale, kernel.shape).astype(np.float32), *bias])
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    base(images, training=True)
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.99


def fitted_head(features, truth):
    """Return kernel and bias of a ridge regression on standardized features."""
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-3
    z = (features - mean) / deviation
    weights = np.linalg.solve(z.T @ z + RIDGE * np.eye(z.shape[1]), z.T @ (truth - truth.mean(axis=0))) * SHARPNESS
    return [(weights / deviation[:, np.newaxis]).astype(np.float32), (-(mean / deviation) @ weights).astype(np.float32)]


def make(folder):
    """Fit the network to half of the bundled validation images; leave the other half to measure drift on."""
    import calibration_data

    random = np.random.default_rng(0)
    paths = sorted(calibration_data.VALIDATION.rglob("*.png"))
    labels = sorted({path.parent.name for path in paths})
    shuffled = [paths[i] for i in random.permutation(len(paths))]
    seen, unseen = shuffled[:FITTED], shuffled[FITTED:]
    base, model = network(len(labels))
    fit_base(base, pictures(seen[:SEEN_BY_BATCH_NORMS]), random)
    pooled = keras.Model(base.input, keras.layers.GlobalAveragePooling2D()(base.output))
    batches = (seen[i : i + BATCH] for i in range(0, FITTED, BATCH))
    features = np.concatenate([np.asarray(pooled(pictures(batch), training=False)) for batch in batches])
    truth = np.eye(len(labels))[[labels.index(path.parent.name) for path in seen]]
    model.get_layer("head").set_weights(fitted_head(features, truth))
    model.save(os.path.join(folder, "mine.keras"))
    np.savez(os.path.join(folder, "weights.npz"), *model.get_weights())
    with open(os.path.join(folder, "labels.txt"), "w") as file:
        file.writelines(f"{label}\n" for label in labels)
    for path in unseen:
        link = os.path.join(folder, "validation", path.parent.name, path.name)
        os.makedirs(os.path.dirname(link), exist_ok=True)
        if not os.path.exists(link):
            os.symlink(path.resolve(), link)


def save_here(folder, name):
    """Save the fitted network as the running version of TensorFlow does."""
    with np.load(os.path.join(folder, "weights.npz")) as stored:
        weights = [stored[f"arr_{i}"] for i in range(len(stored.files))]
    _, model = network(weights[-1].size)
    model.set_weights(weights)
    path = os.path.join(folder, name)
    model.save(path) if "." in name else tf.saved_model.save(model, path)


if __name__ == "__main__":
    os.makedirs(sys.argv[1], exist_ok=True)
    save_here(*sys.argv[1:3]) if len(sys.argv) > 2 else make(sys.argv[1])
