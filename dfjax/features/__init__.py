"""Front ends as JAX functions: waveform (batch, time) to features (batch, frames, bins)."""
