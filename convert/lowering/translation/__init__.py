"""How calls of Keras layers and operations become TFLite operators; `table` says which function translates which."""
