"""FakeAVCeleb v1.2."""
