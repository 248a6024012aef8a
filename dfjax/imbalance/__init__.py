"""Counts become rates, weights and the log-odds ledger. NumPy only."""
