import numpy as np
import pytest

from src.figures import images_a_class
from src.figures.images_a_class import draw_images_a_class


@pytest.fixture
def axes(monkeypatch):
    """The axes that are drawn on."""
    made = []
    subplots = images_a_class.subplots
    monkeypatch.setattr(images_a_class, "subplots", lambda **options: made.append(subplots(**options)) or made[-1])
    return made


def test_each_line_says_how_many_classes_have_at_least_so_many_images(axes, tmp_path):
    sizes = {"veri776": np.random.default_rng(0).integers(1, 90, 300).tolist(), "compcars": [1, 1, 7], "one": [12]}
    draw_images_a_class(sizes, tmp_path / "figures/classes.png")
    (_, drawn), *_ = axes
    assert (tmp_path / "figures/classes.png").stat().st_size > 5000
    for line, (source, counts) in zip(drawn.lines, sizes.items(), strict=True):
        assert line.get_label().startswith(f"{source}: {len(counts)} classes, median {np.median(counts):g} ")
        x, y = line.get_data()
        for images in range(1, max(counts) + 1):
            place = 1 + int(np.searchsorted(x[1:], images))  # a step's height is that of its right end
            assert y[place] == sum(count >= images for count in counts)
        assert (x[-1], y[-1]) == (max(counts), 0.5)
