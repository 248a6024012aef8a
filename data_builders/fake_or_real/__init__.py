"""Fake-or-Real."""
