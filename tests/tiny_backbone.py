"""Overrides for a backbone that takes milliseconds: timm's own for tests, with random weights."""

TINY_BACKBONE = (
    "backbone=resnet50",
    "backbone.name=test_resnet",
    "backbone.weights=null",
    "backbone.last_stride=2",
)
