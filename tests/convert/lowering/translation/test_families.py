"""Networks of each family are translated as a whole, to what Keras computes."""

from __future__ import annotations

import numpy as np
import pytest

from convert.lowering.keras_comparison import checked_sqnr_db, keras_logits, tflite_logits
from convert.lowering.translate import translate
from tests.convert.lowering.translation.families import FAMILIES, SIZE, family


@pytest.mark.parametrize("name", FAMILIES)
def test_families_are_translated(name: str) -> None:
    model, images = family(name), np.random.default_rng(0).uniform(-1, 1, (3, SIZE, SIZE, 3)).astype(np.float32)
    assert checked_sqnr_db(keras_logits(model, images), tflite_logits(translate(model), images)) > 110
