"""ASVspoof 2019, logical access."""
