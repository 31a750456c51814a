"""Image transforms."""

import os

# Before its import: albumentations asks PyPI for a newer version of itself each time.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
