"""Tests of `convert.devices`, as far as they need no device; the rest is in tests/devices."""
