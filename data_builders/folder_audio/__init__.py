"""The user's own recordings."""
