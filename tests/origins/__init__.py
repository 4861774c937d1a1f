"""Models made by real versions of TensorFlow."""
