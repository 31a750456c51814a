"""Galleries: embedded, kept on disk, searched and filtered."""

from src.gallery.filters import COLUMNS, Filters, parse_time
from src.gallery.gallery import Gallery, Hit

__all__ = ["COLUMNS", "Filters", "Gallery", "Hit", "parse_time"]
