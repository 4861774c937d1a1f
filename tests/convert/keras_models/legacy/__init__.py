"""Tests of `convert.keras_models.legacy`."""
