"""A training run: check everything, train the stages, test."""
