"""Nearest neighbours in a gallery: exact, or with an index that finds most of them."""
