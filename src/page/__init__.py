"""The page: a small server and what runs in the browser."""

from src.page.server import make_app

__all__ = ["make_app"]
