"""Finished runs: read, compared, reported."""
