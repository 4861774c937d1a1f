"""Tests of `convert.audit`."""
