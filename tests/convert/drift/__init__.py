"""Tests of `convert.drift`."""
