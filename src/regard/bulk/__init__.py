"""Prediction for more inputs than one process wants to hold: files in, files out, here or on many machines."""
