"""140k Real and Fake Faces."""
