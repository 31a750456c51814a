"""Probabilities that two images show one vehicle, instead of the similarity of their embeddings."""
