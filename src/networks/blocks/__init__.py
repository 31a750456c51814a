"""The papers' blocks, one idea a file."""
