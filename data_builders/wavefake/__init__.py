"""WaveFake."""
