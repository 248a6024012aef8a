"""Prepared records become a checkpoint."""
