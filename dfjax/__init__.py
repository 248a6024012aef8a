"""dfjax: deepfake detection in JAX, from raw media to a calibrated verdict."""

__version__ = "0.1.0"
