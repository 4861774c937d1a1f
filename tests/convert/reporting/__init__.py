"""Tests of `convert.reporting`."""
