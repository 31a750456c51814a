import cv2
import numpy as np
import pandas as pd
from matplotlib import colors

from src.figures.curves import draw_curves, draw_roc
from src.figures.falling_curves import draw_falling_curves, falling_curves
from src.figures.rank_lists import RankList, draw_rank_lists
from src.figures.style import BLUE, GREEN, GREY, ORANGE, VERMILION
from src.figures.trips import draw_trips
from src.retrieval import Falling


def pixels(path, colour):
    """How many pixels of a picture have a colour."""
    wanted = np.round(np.array(colors.to_rgb(colour)) * 255).astype(int)[::-1]
    return int((np.abs(cv2.imread(str(path)).astype(int) - wanted) <= 2).all(axis=2).sum())


def test_rank_lists_frame_right_and_wrong_results(tmp_path):
    def draw(name, right):
        right = np.array(right)
        entry = RankList(0, np.arange(1, 1 + len(right)), right, np.linspace(0.1, 0.9, len(right)), 0.5)
        draw_rank_lists([entry], lambda row: np.full((20, 30, 3), 10 * row, np.uint8), str, tmp_path / name, "title")
        return [pixels(tmp_path / name, colour) for colour in (GREY, GREEN, VERMILION)]

    grey, green, vermilion = draw("mixed.png", [True, False, False])
    assert grey > 0
    assert green > 0
    assert 1.5 * green < vermilion < 2.5 * green
    assert draw("wrong.png", [False, False, False])[1] == 0
    assert draw("right.png", [True, True, True])[2] == 0


def test_curves_are_drawn_from_the_csv_logger_s_file(tmp_path):
    log = {
        "epoch": [0, 0, 1, 1],
        "step": [4, 4, 9, 9],
        "train/cross_entropy": [4.0, None, 3.0, None],
        "train/loss": [5.0, None, 4.0, None],
        "val/day_to_night/mAP": [None, 0.2, None, 0.4],
        "val/mAP": [None, 0.2, None, 0.4],
    }
    pd.DataFrame(log).to_csv(tmp_path / "metrics.csv", index=False)
    draw_curves(tmp_path, tmp_path / "plain.png")
    draw_curves(tmp_path, tmp_path / "compared.png", {"day_to_night": 0.3})
    plain, compared = (cv2.imread(str(tmp_path / name)) for name in ("plain.png", "compared.png"))
    assert plain.std() > 0
    assert plain.shape != compared.shape or (plain != compared).any()

    pd.DataFrame(log | {"val/type_accuracy": [None, 0.5, None, 0.7]}).to_csv(tmp_path / "metrics.csv", index=False)
    draw_curves(tmp_path, tmp_path / "attributes.png")  # shares are no losses
    assert cv2.imread(str(tmp_path / "attributes.png")).shape[0] > 1.3 * plain.shape[0]


def test_a_term_s_curves_stand_out_from_those_of_the_paper(tmp_path):
    options = {"spatial_slope": 6.0, "spatial_shift": 0.9, "temporal_slope": 1.0, "temporal_shift": 0.5}
    own = falling_curves(options | {"omega": 0.2})
    assert own == {"D_s": Falling(6, 0.9), "D_t": Falling(1, 0.5)}
    draw_falling_curves(own, tmp_path / "own.png")
    draw_falling_curves({}, tmp_path / "paper.png")
    for colour in (BLUE, ORANGE):
        assert pixels(tmp_path / "own.png", colour) > 300 > pixels(tmp_path / "paper.png", colour) == 0
    # What is far from every plausible trip is farther, the later the curve falls: the blue one lies above the other.
    picture = cv2.imread(str(tmp_path / "own.png"))
    heights = []
    for colour in (BLUE, ORANGE):
        wanted = np.round(np.array(colors.to_rgb(colour)) * 255).astype(int)[::-1]
        places = np.argwhere((np.abs(picture.astype(int) - wanted) <= 2).all(axis=2))
        heights.append(places[places[:, 0] < 0.8 * len(picture), 0].mean())
    assert heights[0] < heights[1]


def test_trips_are_drawn_with_the_density_fitted_to_them(tmp_path):
    rng = np.random.default_rng(0)
    train = pd.DataFrame(
        {
            "vehicle_id": rng.integers(0, 9, 80),
            "camera_id": rng.integers(4, 7, 80),
            "timestamp": rng.integers(0, 500, 80).astype(float),
        }
    )
    roads = pd.DataFrame([[0.0, 300, 900], [300, 0, 500], [900, 500, 0]], index=[4, 5, 6], columns=[4, 5, 6])
    draw_trips(train, roads, tmp_path / "both.png")
    draw_trips(train, None, tmp_path / "times.png")
    both, times = (cv2.imread(str(tmp_path / name)).shape for name in ("both.png", "times.png"))
    assert both[0] > 1.8 * times[0]
    assert pixels(tmp_path / "both.png", ORANGE) > pixels(tmp_path / "times.png", ORANGE) > 0
    draw_trips(train.iloc[:1], roads, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_roc_curves_are_drawn(tmp_path):
    false = np.geomspace(1e-4, 1e-2, 20)
    draw_roc({"image_to_image": (false, false * 50)}, tmp_path / "one.png")
    draw_roc({"image_to_image": (false, false * 50), "image_to_track": (false, false * 90)}, tmp_path / "two.png")
    assert pixels(tmp_path / "one.png", ORANGE) == 0
    assert pixels(tmp_path / "two.png", ORANGE) > 0
