"""Tests of `convert.system`."""
