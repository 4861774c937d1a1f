"""Tests of `convert.tflite`."""
