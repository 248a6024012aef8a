"""Checkpoint and media become scores."""
