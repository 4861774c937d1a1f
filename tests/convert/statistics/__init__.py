"""Tests of `convert.statistics`."""
