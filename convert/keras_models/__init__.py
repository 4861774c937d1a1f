"""Keras networks: where they come from, and how they are opened safely."""
