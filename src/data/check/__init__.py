"""Checks of a data set on disk: is it complete, are files damaged."""
