"""Distances between queries and gallery, and the terms added to them."""
