"""Tests of `convert.gate`."""
