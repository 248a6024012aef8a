"""Experiments: one file, one lab note."""
