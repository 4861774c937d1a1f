"""Tests of `convert.lowering.graphs`."""
