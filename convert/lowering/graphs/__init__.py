"""Networks that are graphs, not Keras models: SavedModels and `.tflite` files, brought into our own form."""
