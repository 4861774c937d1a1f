"""Weights files of the article's network."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest

from tests.convert.article import SMALL, article_model, randomise


@pytest.fixture(scope="module", params=["the article's names", "names made up by Keras"])
def article(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Path]:
    """A network of the article's `Conv_Bn_Relu` layers, and its weights saved by Keras 3."""
    model = randomise(article_model(**SMALL, named=request.param == "the article's names"))
    path = tmp_path_factory.mktemp("article") / "article.weights.h5"
    model.save_weights(path)
    return model, path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights without a model."""
    path = tmp_path_factory.mktemp("saved") / "mine.weights.h5"
    randomise(article_model(**SMALL)).save_weights(path)
    return path
