"""DEEP-VOICE."""
