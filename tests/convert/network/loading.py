"""What tests of loading share: small networks of ours, their answers, and the message of an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from convert.errors import SourceError
from convert.network.architecture import inception_resnet_v2
from tests.convert.article import SMALL, random_images

SMALL_NETWORK = {"repeats": SMALL["repeats"], "width": SMALL["width"]}
IMAGES = random_images(75)


def our_network(classes: int = 10, **options: Any) -> keras.Model:
    return inception_resnet_v2((75, 75, 3), classes, **(SMALL_NETWORK | options))


def predict(model: keras.Model, images: np.ndarray[Any, Any] = IMAGES) -> np.ndarray[Any, Any]:
    return np.asarray(keras.ops.convert_to_numpy(model(images, training=False)))


def error_of(call: Callable[[], object]) -> str:
    """The message of the SourceError that `call` raises; always one line."""
    with pytest.raises(SourceError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message
