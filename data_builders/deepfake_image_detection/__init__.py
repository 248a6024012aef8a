"""Deepfake Image Detection, two Kaggle sets of that name."""
