"""Weights files of the article's network."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.arrays import Array
from tests.convert.keras_models.loading import article_network, predict


@pytest.fixture(scope="module", params=["the article's names", "names made up by Keras"])
def article(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Array, Path]:
    """Predictions of a network of the article's `Conv_Bn_Relu` layers, and its weights saved by Keras 3."""
    model = article_network(named=request.param == "the article's names")
    path = tmp_path_factory.mktemp("article") / "article.weights.h5"
    model.save_weights(path)
    return predict(model), path


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights without a model."""
    path = tmp_path_factory.mktemp("saved") / "mine.weights.h5"
    article_network().save_weights(path)
    return path
