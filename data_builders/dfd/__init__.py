"""DeepFakeDetection (Google and Jigsaw)."""
