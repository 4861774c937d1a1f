"""Float `.tflite` + calibration images -> quantized `.tflite`: schemes, ranges, rounding, corrections, recovery."""
