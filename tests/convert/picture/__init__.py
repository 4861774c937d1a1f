"""Tests of `convert.picture`."""
