"""Tests of `convert.network`."""
