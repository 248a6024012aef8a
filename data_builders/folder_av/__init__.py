"""The user's own videos with their sound."""
