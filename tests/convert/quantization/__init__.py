"""Tests of `convert.quantization`."""
