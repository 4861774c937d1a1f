"""Reference against candidate: predictions, how far they are apart, where that comes from."""
