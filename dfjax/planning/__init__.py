"""What is worth doing with a dataset, and what it will cost on this machine."""
