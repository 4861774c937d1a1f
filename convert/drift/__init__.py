"""Drift: how far the predictions of a candidate are from those of its reference, and which step causes it.

Drift here is quantization error against a reference on the same images, not a change of the data over time.
"""
