"""Runs that are stopped, starved or disturbed."""
