"""Tests of `convert.cli`."""
