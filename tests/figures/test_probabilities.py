import cv2
import numpy as np

from src.figures.probabilities import draw_probabilities
from src.retrieval.probabilities.probability_errors import reliability
from tests.figures.test_figures import pixels


def test_reliability_and_refusal_are_drawn(tmp_path):
    rng = np.random.default_rng(0)
    said = rng.random(500)
    bins = {"day_to_night": reliability(said, rng.random(500) < said), "night_to_day": reliability(said, said > 0.5)}
    draw_probabilities(bins, bins, said[:100] ** 0.3, said[100:] ** 3, tmp_path / "figures/out.png")
    picture = cv2.imread(str(tmp_path / "figures/out.png"))
    assert picture.shape[1] > 2 * picture.shape[0] > 400
    assert pixels(tmp_path / "figures/out.png", "#0072B2") > 100  # lines around what is there
    assert pixels(tmp_path / "figures/out.png", "#D55E00") > 100
    draw_probabilities(bins, bins, said[:0], said[:0], tmp_path / "none.png")
    assert cv2.imread(str(tmp_path / "none.png")).shape == picture.shape
