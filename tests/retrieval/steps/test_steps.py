"""Post-processing by name, against dense matrices put together by hand."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from torch.nn import functional as F

from src.data import fingerprint, make_table
from src.retrieval import (
    STEPS,
    Context,
    DataVersion,
    Embeddings,
    EmbeddingsMeta,
    FeatureDistance,
    KReciprocalDistance,
    StepError,
    TripModel,
    average_track_features,
    group_queries,
    make_steps,
    start,
    take,
    track_numbers,
    write_embeddings,
)
from src.runtime.command import CONF_DIR
from src.runtime.json_files import record_of

N_QUERIES, N_GALLERY, N_TRAIN = 8, 40, 30
ROADS = pd.DataFrame(
    [[0.0, 300, 900], [300, 0, 500], [900, 500, 0]], index=[4, 5, 6], columns=[4, 5, 6]
)  # cameras are not numbered from 0


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    count = N_QUERIES + N_GALLERY + N_TRAIN
    ids = rng.integers(0, 5, count)
    cameras = rng.integers(4, 7, count)
    return make_table(
        "/data",
        "cars",
        {
            "path": [f"{i}.jpg" for i in range(count)],
            "vehicle_id": ids,
            "camera_id": cameras,
            "track_id": ids * 10 + cameras,
            "timestamp": rng.integers(0, 500, count).astype(float),
            "colour": rng.choice(["red", "blue", ""], count),
            "type": rng.choice(["bus", "van"], count),
            "split": ["query"] * N_QUERIES + ["gallery"] * N_GALLERY + ["train"] * N_TRAIN,
        },
    )


@pytest.fixture
def state(table):
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(5, 6, generator=generator)[table["vehicle_id"].to_numpy()[: N_QUERIES + N_GALLERY]]
    features = F.normalize(centres + 0.5 * torch.randn(centres.shape, generator=generator))
    query, gallery = np.arange(N_QUERIES), np.arange(N_QUERIES, N_QUERIES + N_GALLERY)
    context = Context(table[table["split"] == "train"], ROADS, fingerprint=fingerprint(table))
    return start(features, table, query, gallery, context=context)


def ranking(state, *names, **options):
    """The distances after some steps, `(Q, G)`."""
    distance = take([state], make_steps(names, options)).ranking()
    return distance.block(slice(0, distance.shape[0]), slice(0, distance.shape[1])).numpy()


def dense(state):
    """The distance of all images to all, in float64."""
    features = state.features.double().numpy()
    return np.linalg.norm(features[:, None] - features, axis=2)


def spatio_temporal(state, omega):
    """DFR-ST's term between all images."""
    train, records = state.context.train, state.records
    model = TripModel.fit(train["vehicle_id"], train["camera_id"] - 4, train["timestamp"], ROADS.to_numpy())

    def implausible(value, fit):
        mode = np.exp(fit.mu - fit.sigma**2)
        relative = 0.0
        if value > 0:
            heights = [np.exp(-((np.log(x) - fit.mu) ** 2) / (2 * fit.sigma**2)) / x for x in (value, mode)]
            relative = heights[0] / heights[1]
        return 1 / (1 + np.exp(6 * (relative - 0.5)))

    term = np.zeros((len(records), len(records)))
    for i, (camera, time) in enumerate(zip(records["camera_id"], records["timestamp"], strict=True)):
        for j, (other, moment) in enumerate(zip(records["camera_id"], records["timestamp"], strict=True)):
            road = ROADS.loc[camera, other]
            term[i, j] = implausible(road, model.spatial) + implausible(abs(time - moment), model.temporal)
    return omega * term


def differs(state, column):
    values = state.records[column].to_numpy()
    return np.array([[len({a, b, ""}) == 3 for b in values] for a in values], dtype=float)


def part(matrix):
    return matrix[:N_QUERIES, N_QUERIES:]


def test_without_steps_it_is_the_distance_of_the_features(state):
    np.testing.assert_allclose(ranking(state), part(dense(state)), atol=1e-5)
    cosine = replace(state, scale="cosine")
    np.testing.assert_allclose(ranking(cosine), part(dense(state)) ** 2 / 2, atol=1e-5)


def test_terms_add_up(state):
    found = ranking(
        state,
        "spatio_temporal",
        "attribute_constraint",
        spatio_temporal={"omega": 0.3},
        attribute_constraint={"labels": "table", "delta_type": 0.2, "delta_colour": 0.1},
    )
    expected = dense(state) + spatio_temporal(state, 0.3)
    expected += 0.2 * differs(state, "type") + 0.1 * differs(state, "colour")
    np.testing.assert_allclose(found, part(expected), atol=1e-5)


def test_the_relation_of_veris_authors_is_scaled_by_the_longest_gap_and_road(state):
    records, roads = state.records, ROADS.to_numpy()
    times, cameras = records["timestamp"].to_numpy(), records["camera_id"].to_numpy() - 4
    longest = max(abs(one - other) for one in times for other in times)
    relation = [
        [abs(a - b) / longest * roads[c, d] / roads.max() for b, d in zip(times, cameras, strict=True)]
        for a, c in zip(times, cameras, strict=True)
    ]
    found = ranking(state, "spatio_temporal_relation", spatio_temporal_relation={"omega": 0.7})
    np.testing.assert_allclose(found, part(dense(state) + 0.7 * np.array(relation)), atol=1e-5)
    with pytest.raises(StepError, match="spatio_temporal_relation knows no road distances between"):
        ranking(replace(state, context=Context(state.context.train)), "spatio_temporal_relation")
    few = replace(state, context=replace(state.context, camera_distances=ROADS.iloc[:2, :2]))
    with pytest.raises(StepError, match=r"no road distances of the cameras \[6\]; add them to the data set"):
        ranking(few, "spatio_temporal_relation")


def test_no_weight_leaves_the_ranking_as_it_is(state):
    found = ranking(state, "spatio_temporal", spatio_temporal={"omega": 0.0})
    np.testing.assert_array_equal(found, ranking(state))


def test_re_ranking_takes_the_sum_of_all_terms_before_it(state):
    expected = dense(state) + spatio_temporal(state, 0.2)

    class Whole:
        device = torch.device("cpu")
        shape = expected.shape

        def block(self, queries, gallery):
            return torch.from_numpy(expected).float()[queries][:, gallery].clone()

        def pairs(self, queries, gallery):
            return torch.from_numpy(expected).float()[queries, gallery]

    found = ranking(state, "spatio_temporal", "k_reciprocal", k_reciprocal={"k1": 6, "k2": 3})
    reranked = KReciprocalDistance(Whole(), N_QUERIES, k1=6, k2=3)
    np.testing.assert_allclose(found, reranked.block(slice(0, N_QUERIES), slice(0, N_GALLERY)), atol=1e-4)


def test_a_term_after_re_ranking_needs_a_weight_for_re_ranked_distances(state):
    with pytest.raises(StepError, match=r"distances, but they are reranked.*spatio_temporal\.metric=reranked"):
        ranking(state, "k_reciprocal", "spatio_temporal")
    found = ranking(state, "k_reciprocal", "spatio_temporal", spatio_temporal={"metric": "reranked"})
    expected = ranking(state, "k_reciprocal") + part(spatio_temporal(state, 0.2))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_filters_act_wherever_they_stand(state):
    times, cameras = state.records["timestamp"].to_numpy(), state.records["camera_id"].to_numpy()
    out = (np.abs(times[:, None] - times) > 100) | (cameras[:, None] == cameras)
    options = {"time_window": {"tau": 100}, "camera_verification": {"embeddings": "table"}}
    for order in (
        ("time_window", "camera_verification", "k_reciprocal"),
        ("k_reciprocal", "camera_verification", "time_window"),
    ):
        expected = np.where(part(out), np.inf, ranking(state, "k_reciprocal"))
        np.testing.assert_array_equal(ranking(state, *order, **options), expected)


def test_cameras_may_be_told_apart_by_another_models_features(state, table, tmp_path):
    cameras = table["camera_id"].to_numpy()[: len(state.records)]
    features = torch.eye(3)[cameras - 4] + 0.01 * torch.randn(len(cameras), 3)
    rows = np.arange(len(cameras))
    meta = EmbeddingsMeta(data=DataVersion("cars", fingerprint(table)))
    write_embeddings(tmp_path, Embeddings(features, rows, table, None, meta))
    found = ranking(state, "camera_verification", camera_verification={"embeddings": str(tmp_path)})
    np.testing.assert_array_equal(np.isinf(found), part(cameras[:, None] == cameras))
    other = replace(state, context=Context(fingerprint="another"))
    with pytest.raises(StepError, match="finds the embeddings of other data"):
        ranking(other, "camera_verification", camera_verification={"embeddings": str(tmp_path)})


def test_attributes_may_come_from_a_file(state, tmp_path):
    records = state.records[["path", "colour", "type"]]
    records.iloc[5:].to_csv(tmp_path / "labels.csv", index=False)  # some images were not labelled
    options = {"labels": str(tmp_path / "labels.csv"), "delta_type": 0.2, "delta_colour": 0.1}
    found = ranking(state, "attribute_constraint", attribute_constraint=options)
    term = 0.2 * differs(state, "type") + 0.1 * differs(state, "colour")
    term[:5] = 0
    np.testing.assert_allclose(found, part(dense(state) + term), atol=1e-5)
    for content, message in (
        ("path,colour\n1.jpg,red\n", "finds no column 'type'"),
        ("path,colour,type\n1.jpg,red,bus\n1.jpg,red,bus\n", "finds 1.jpg in .* twice"),
        ("path,colour,type\nx.jpg,red,bus\n", "finds none of the test images"),
    ):
        (tmp_path / "labels.csv").write_text(content)
        with pytest.raises(StepError, match=message):
            ranking(state, "attribute_constraint", attribute_constraint=options)
    with pytest.raises(StepError, match="which is no file"):
        ranking(state, "attribute_constraint", attribute_constraint={**options, "labels": "nowhere.csv"})


def test_tracks_are_ranked_and_expanded(state):
    owner = track_numbers(state.gallery_records["track_id"].to_numpy())
    tracks = average_track_features(state.gallery, owner)
    steps = make_steps(["track_features"], {"track_features": {"kind": "average"}})
    joined = take([state], steps)
    assert joined.ranking().shape == (N_QUERIES, owner.max() + 1)
    expected = FeatureDistance(state.query, tracks).block(slice(0, N_QUERIES), slice(0, owner.max() + 1))
    np.testing.assert_allclose(
        joined.ranking().block(slice(0, N_QUERIES), slice(0, owner.max() + 1)), expected, atol=1e-6
    )
    assert joined.gallery_records["track_id"].is_unique

    places = ranking(state, "track_features", "expand_tracks", track_features={"kind": "average"})
    images = part(dense(state))
    for q in range(N_QUERIES):
        order = [
            image
            for track in np.argsort(expected[q].numpy(), kind="stable")
            for image in sorted(np.flatnonzero(owner == track), key=lambda image, q=q: images[q, image])
        ]
        assert np.argsort(places[q]).tolist() == order


def test_group_re_ranking_follows_query_groups(state):
    found = ranking(
        state, "query_groups", "group_reranking", query_groups={"theta": 0.6}, group_reranking={"theta": 0.5}
    )
    query, _ = group_queries(state.query, 0.6)
    distances = FeatureDistance(query, state.gallery).block(slice(0, N_QUERIES), slice(0, N_GALLERY)).numpy()
    tracks = state.gallery_records["track_id"].to_numpy()
    for q in range(N_QUERIES):
        expected = []
        for image in np.argsort(distances[q], kind="stable"):
            if image not in expected:
                expected.append(image)
                if distances[q, image] < 0.5:
                    rest = [other for other in np.argsort(distances[q], kind="stable") if other not in expected]
                    expected += [other for other in rest if tracks[other] == tracks[image]]
        assert np.argsort(found[q]).tolist() == expected


def test_models_are_joined_by_their_features_or_by_their_distances(state):
    other = replace(state, features=F.normalize(torch.randn(state.features.shape)))
    steps = make_steps(["concatenate"], {"concatenate": {"weights": [3, 1]}})
    (joined,) = [take([state, other], steps)]
    squares = [dense(each) ** 2 for each in (state, other)]
    expected = np.sqrt((9 * squares[0] + squares[1]) / 10)
    found = joined.ranking().block(slice(0, N_QUERIES), slice(0, N_GALLERY))
    np.testing.assert_allclose(found, part(expected), atol=1e-5)

    averaged = take([state, other], make_steps(["average"], {"average": {"weights": [3, 1]}}))
    mean = 3 * state.features.double() + other.features.double()
    torch.testing.assert_close(averaged.features.double(), F.normalize(mean), atol=1e-6, rtol=0)
    longer = replace(other, features=F.normalize(torch.randn(len(other.features), 9)))
    with pytest.raises(StepError, match=r"average needs features of one model, but they have \[6, 9\] dimensions"):
        take([state, longer], make_steps(["average"], {}))

    # Two models, each with its looks at whole and cropped images: first the looks of a model, then the models.
    cropped, longer_cropped = (replace(s, features=F.normalize(s.features + 1)) for s in (state, longer))
    looks = [state, cropped, longer, longer_cropped]
    joined = take(looks, make_steps(["average", "concatenate"], {"average": {"looks": 2}}))
    means = [F.normalize(a.features + b.features) for a, b in ((state, cropped), (longer, longer_cropped))]
    torch.testing.assert_close(joined.features, F.normalize(torch.cat(means, dim=1)))
    with pytest.raises(StepError, match=r"average takes 3 looks of each model, but there are 4 embeddings in all"):
        take(looks, make_steps(["average", "concatenate"], {"average": {"looks": 3}}))

    steps = make_steps(["k_reciprocal", "sum_distances", "time_window"], {"time_window": {"tau": 300}})
    joined = take([state, other], steps)
    assert joined.scale == "summed"
    total = ranking(state, "k_reciprocal") + ranking(other, "k_reciprocal")
    times = state.records["timestamp"].to_numpy()
    expected = np.where(part(np.abs(times[:, None] - times) > 300), np.inf, total)
    np.testing.assert_allclose(joined.ranking().block(slice(0, N_QUERIES), slice(0, N_GALLERY)), expected, atol=1e-6)
    with pytest.raises(StepError, match="leaves 2 models apart"):
        take([state, other], make_steps(["k_reciprocal"], {}))
    with pytest.raises(StepError, match=r"has the weights \[1\] for 2 models"):
        take([state, other], make_steps(["concatenate"], {"concatenate": {"weights": [1]}}))


def test_camera_means_are_taken_from_every_feature(state):
    features, cameras = state.features.double().numpy(), state.records["camera_id"].to_numpy()
    left = np.zeros_like(features)
    for row in range(len(features)):
        same = [other for other in range(len(features)) if cameras[other] == cameras[row]]
        left[row] = features[row] - sum(features[other] for other in same) / len(same)
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    expected = np.linalg.norm(left[:N_QUERIES, None] - left[N_QUERIES:], axis=2)
    np.testing.assert_allclose(ranking(state, "camera_means"), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["average", "weighted"])
def test_reranked_tracks_of_several_models_are_added_up_and_then_expanded(state, kind):
    """Multi-domain learning's ensemble; the frames of a track come as the first model has them."""
    other = replace(state, features=F.normalize(state.features + 0.3))
    options = {"track_features": {"kind": kind}, "k_reciprocal": {"k1": 7, "k2": 2, "lambda_value": 0.6}}
    steps = ["track_features", "k_reciprocal", "sum_distances", "expand_tracks"]
    joined = take([state, other], make_steps(steps, options))
    places = joined.ranking().block(slice(0, N_QUERIES), slice(0, N_GALLERY)).numpy()
    total = sum(ranking(one, "track_features", "k_reciprocal", **options) for one in (state, other))
    owner = track_numbers(state.gallery_records["track_id"].to_numpy())
    frames = part(dense(state))
    for query in range(N_QUERIES):
        order = sorted(
            range(N_GALLERY), key=lambda image: (total[query][owner[image]], owner[image], frames[query][image])
        )
        assert places[query][order].tolist() == list(range(N_GALLERY))


WRONG = [
    (["k_reciprocl"], {}, "did you mean 'k_reciprocal'"),
    (["k_reciprocal"], {"k_reciprocal": {"k": 3}}, r"retrieval\.k_reciprocal\.k is unknown"),
    (["k_reciprocal", "query_expansion"], {}, "query_expansion changes features"),
    (["spatio_temporal", "track_features"], {}, "track_features changes features"),
    (["time_window", "query_groups"], {"time_window": {"tau": 9}}, "a filter stands before it"),
    (["k_reciprocal", "k_reciprocal"], {}, "k_reciprocal needs distances between all images"),
    (["expand_tracks"], {}, "no track_features stands before it"),
    (["track_features", "group_reranking"], {"group_reranking": {"theta": 1}}, "joined them into tracks"),
    (["track_features"], {"track_features": {"kind": "best"}}, "has kind 'best'"),
    (["time_window"], {}, r"needs retrieval\.time_window\.tau"),
    (["camera_verification"], {}, "embeddings folder of a camera classifier"),
    (["dbscan_expansion"], {}, r"needs retrieval\.dbscan_expansion\.eps"),
    (["attribute_constraint"], {}, r"needs retrieval\.attribute_constraint\.labels"),
]


@pytest.mark.parametrize(("names", "options", "message"), WRONG)
def test_impossible_steps_are_refused_by_name(state, names, options, message):
    with pytest.raises(StepError, match=message):
        ranking(state, *names, **options)


LACKING = [
    ("timestamp", "spatio_temporal", {}, "needs a timestamp for each test image, and 1 of 48 have none"),
    ("camera_id", "spatio_temporal", {}, "needs a camera_id"),
    ("camera_id", "camera_means", {}, "needs a camera_id for each test image"),
    ("camera_id", "camera_verification", {"embeddings": "table"}, "needs a camera_id"),
    ("timestamp", "spatio_temporal_relation", {}, "needs a timestamp"),
    ("timestamp", "time_window", {"tau": 3}, "needs a timestamp"),
]


@pytest.mark.parametrize(("column", "name", "options", "message"), LACKING)
def test_missing_metadata_is_refused_by_name(state, column, name, options, message):
    records = state.records.copy()
    records.loc[records.index[3], column] = np.nan if column == "timestamp" else -1
    with pytest.raises(StepError, match=f"{name} {message}"):
        ranking(replace(state, records=records), name, **{name: options})


def test_the_spatio_temporal_term_needs_roads_and_training_trips(state):
    with pytest.raises(StepError, match=r"knows no road distances.*parts=\[temporal\]"):
        ranking(replace(state, context=Context(state.context.train)), "spatio_temporal")
    without = replace(state, context=Context(state.context.train))
    assert np.isfinite(ranking(without, "spatio_temporal", spatio_temporal={"parts": ["temporal"]})).all()
    few = replace(state, context=replace(state.context, camera_distances=ROADS.iloc[:2, :2]))
    with pytest.raises(StepError, match=r"no road distances of the cameras \[6\]"):
        ranking(few, "spatio_temporal")
    with pytest.raises(StepError, match="is fitted on training images"):
        ranking(replace(state, context=Context(None, ROADS)), "spatio_temporal")
    # What the model's checkpoint knows serves where there are no training images.
    fitted = record_of(TripModel, asdict(TripModel.fit_records(state.context.train, ROADS)))
    kept = replace(state, context=Context(None, ROADS, fitted))
    np.testing.assert_array_equal(ranking(kept, "spatio_temporal"), ranking(state, "spatio_temporal"))


def test_the_configuration_has_every_option_with_its_default():
    cfg = OmegaConf.load(Path(CONF_DIR, "retrieval", "exact.yaml"))
    for name, step in STEPS.items():
        (made,) = make_steps([name], cfg)
        assert made == step()
