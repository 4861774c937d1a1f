"""From a Keras network to a float .tflite."""
