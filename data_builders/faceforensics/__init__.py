"""FaceForensics++."""
