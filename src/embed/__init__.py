"""A checkpoint as a function from images to embeddings."""

from src.embed.embedder import Embedder, Precision
from src.embed.image_input import Image, image_files

__all__ = ["Embedder", "Image", "Precision", "image_files"]
