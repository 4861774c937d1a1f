"""Metrics, confidence sequences and verdicts: arrays in, numbers out."""
