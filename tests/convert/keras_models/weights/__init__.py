"""Tests of `convert.keras_models.weights`."""
