"""TFLite files: read, changed, written, run."""
