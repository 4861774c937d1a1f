"""Tests of `convert.lowering.translation`."""
