"""What is in a `.tflite`, and what is wrong with it."""
