"""A checkpoint as a function from images to embeddings."""

from src.embed.embedder import Embedder, Precision
from src.embed.image_input import Image, image_files
from src.embed.network import Network

__all__ = ["Embedder", "Image", "Network", "Precision", "image_files"]
