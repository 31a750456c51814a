"""The page: a small server and what runs in the browser."""

from src.gallery.page.server import make_app

__all__ = ["make_app"]
