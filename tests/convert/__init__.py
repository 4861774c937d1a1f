"""Tests of `convert`."""
