"""Configurations: which keys exist, what composes with what."""
