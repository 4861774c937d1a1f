"""Tests of `edge_runtime.foreign`."""
