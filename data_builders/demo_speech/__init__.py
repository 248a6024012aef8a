"""Synthetic voices; see README.md."""
