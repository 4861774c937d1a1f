"""Tests of `convert.lowering`."""
