"""Tests of what runs on a device; none of them needs TensorFlow."""
