"""Scores become a decision: thresholds, metrics, calibration. NumPy only, never JAX."""
