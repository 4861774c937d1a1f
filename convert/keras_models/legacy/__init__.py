"""Models of Keras 2, translated for Keras 3: their configurations, operators and weights."""
