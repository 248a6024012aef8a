"""Synthetic faces; see README.md."""
