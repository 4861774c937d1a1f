"""Devices over SSH: what is there, what they are given, and what they answer."""
