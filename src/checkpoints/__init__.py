"""A method on disk: written whole, read safely, restored, converted, exported."""
