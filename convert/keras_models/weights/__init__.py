"""Weights without a model: read from files of several formats, and put into the network that they are for."""
