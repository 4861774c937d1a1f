"""The network: where it comes from, what it looks like, and its float `.tflite`."""
