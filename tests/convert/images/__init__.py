"""Tests of `convert.images`."""
