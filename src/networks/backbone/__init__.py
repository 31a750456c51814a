"""Backbones: timm's networks cut into stages, with weights from timm, from a package or from a file."""
