"""What must hold for every retrieval task, however odd; hypothesis looks for one that breaks it."""

from dataclasses import dataclass

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis.extra.numpy import arrays

from src.retrieval import FeatureDistance, Relevance, evaluate, evaluate_distance

checked = settings(
    deadline=None, max_examples=200, print_blob=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
RULES = st.sampled_from(["none", "same_camera", "same_image"])
BLOCKS = st.sampled_from([1e-9, 1e-4, 1e-3, 128])  # MiB: from a single row to all rows


@dataclass(frozen=True)
class Task:
    """Labels and features of a few small integers: distances are exact, ties and duplicates are common."""

    features: tuple[np.ndarray, np.ndarray]
    ids: tuple[np.ndarray, np.ndarray]
    cameras: tuple[np.ndarray, np.ndarray]
    items: tuple[np.ndarray, np.ndarray]

    def labels(self):
        pairs = {"ids": self.ids, "cameras": self.cameras, "items": self.items}
        sides = ("query", "gallery")
        return {f"{side}_{name}": pair[i] for name, pair in pairs.items() for i, side in enumerate(sides)}

    def ignored(self, rule, q, g):
        if rule == "same_camera":
            return self.positive(q, g) and self.cameras[0][q] == self.cameras[1][g]
        return rule == "same_image" and self.items[0][q] == self.items[1][g]

    def positive(self, q, g):
        return self.ids[0][q] == self.ids[1][g] != -1

    def squares(self):
        return [[int(((a - b).astype(int) ** 2).sum()) for b in self.features[1]] for a in self.features[0]]


@st.composite
def tasks(draw):
    counts = draw(st.integers(0, 6)), draw(st.integers(0, 25))
    dimensions = draw(st.integers(1, 5))
    labels = [
        tuple(draw(arrays(np.int64, count, elements=st.integers(least, most))) for count in counts)
        for least, most in ((-1, 4), (0, 2), (0, 40))  # all -1: nothing but junk; most ids have one image or none
    ]
    values = st.integers(-2, 2)
    features = tuple(draw(arrays(np.float32, (count, dimensions), elements=values)) for count in counts)
    return Task(features, *labels)


def reference(task, rule, ap):
    """For every query: its list, and average precision, first hit, inverse negative penalty or None; all ties."""
    lists, numbers, ties = [], [], 0
    for q, row in enumerate(task.squares()):
        order = [g for g in sorted(range(len(row)), key=lambda g: (row[g], g)) if not task.ignored(rule, q, g)]
        ranks = [rank for rank, g in enumerate(order, start=1) if task.positive(q, g)]
        ties += sum(row[a] == row[b] for a in order for b in order if task.positive(q, a) and not task.positive(q, b))
        lists.append(order)
        precisions = [found / rank for found, rank in enumerate(ranks, start=1)]
        if ap == "trapezoid":
            before = [(found - 1) / (rank - 1) if rank > 1 else 1.0 for found, rank in enumerate(ranks, start=1)]
            precisions = [(a + b) / 2 for a, b in zip(precisions, before, strict=True)]
        n = len(ranks)
        numbers.append((sum(precisions) / n, ranks[0], n / ranks[-1]) if ranks else None)
    return lists, numbers, ties


@checked
@given(
    task=tasks(),
    rule=RULES,
    ap=st.sampled_from(["standard", "trapezoid"]),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32]),
    top_k=st.integers(1, 30),  # often longer than the gallery
    block_mb=BLOCKS,
)
def test_every_task_is_ranked_like_plain_python_ranks_it(task, rule, ap, dtype, top_k, block_mb):
    query, gallery = (torch.from_numpy(features).to(dtype) for features in task.features)
    result = evaluate(query, gallery, **task.labels(), ignore=rule, ap=ap, top_k=top_k, block_mb=block_mb)
    lists, numbers, ties = reference(task, rule, ap)
    assert result.ties == ties
    assert result.valid.tolist() == [one is not None for one in numbers]
    for q, one in enumerate(numbers):
        if one is None:
            assert np.isnan(result.ap[q])
            assert result.first_hit[q] == 0
        else:
            assert (result.ap[q], result.first_hit[q], result.inp[q]) == pytest.approx(one, abs=1e-12)
    for found, distances, order, squares in zip(result.indices, result.distances, lists, task.squares(), strict=True):
        nearest = order[:top_k]
        assert found.tolist() == nearest + [-1] * (top_k - len(nearest))
        np.testing.assert_allclose(distances[: len(nearest)], np.sqrt([squares[g] for g in nearest]), rtol=1e-6)
        assert np.isinf(distances[len(nearest) :]).all()


@checked
@given(task=tasks(), rule=RULES, data=st.data())
def test_the_order_of_the_gallery_does_not_matter_where_nothing_ties(dense_distance, task, rule, data):
    n_queries, n_gallery = len(task.ids[0]), len(task.ids[1])
    steps = [data.draw(st.permutations(range(n_gallery))) for _ in range(n_queries)]
    distances = np.array(steps, dtype=np.float32).reshape(n_queries, n_gallery)
    order = np.array(data.draw(st.permutations(range(n_gallery))), dtype=int)
    labels = task.labels()
    shuffled = {name: values[order] if name.startswith("gallery") else values for name, values in labels.items()}
    first = evaluate_distance(dense_distance(distances), Relevance(**labels, ignore=rule), top_k=n_gallery)
    second = evaluate_distance(dense_distance(distances[:, order]), Relevance(**shuffled, ignore=rule), top_k=n_gallery)
    for name in ("ap", "first_hit", "inp", "n_positives", "distances"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.ties == second.ties == 0
    there = second.indices >= 0
    np.testing.assert_array_equal(first.indices >= 0, there)
    np.testing.assert_array_equal(first.indices[there], order[second.indices[there]])


@checked
@given(task=tasks(), rule=RULES, scale=st.sampled_from([0.5, 4.0, 2.0**20]))
def test_scaling_all_features_changes_no_rank(task, rule, scale):
    first, second = (
        evaluate(task.features[0] * factor, task.features[1] * factor, **task.labels(), ignore=rule, top_k=9)
        for factor in (np.float32(1), np.float32(scale))
    )
    for name in ("ap", "first_hit", "inp", "indices"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    np.testing.assert_array_equal(first.distances * np.float32(scale), second.distances)


@checked
@given(task=tasks(), rule=RULES, others=st.integers(1, 5))
def test_farther_junk_leaves_everything_as_it_was(task, rule, others):
    far = np.full((others, task.features[1].shape[1]), 100, dtype=np.float32)
    labels = task.labels()
    more = labels | {
        name: np.concatenate([labels[name], np.full(others, filling)])
        for name, filling in (("gallery_ids", -1), ("gallery_cameras", 0), ("gallery_items", -5))
    }
    query, gallery = task.features
    first = evaluate(query, gallery, **labels, ignore=rule)
    second = evaluate(query, np.concatenate([gallery, far]), **more, ignore=rule)
    for name in ("ap", "first_hit", "inp", "n_positives", "ties"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


@settings(parent=checked, max_examples=100)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_queries=st.integers(1, 40),
    n_gallery=st.sampled_from([1, 2, 63, 1023, 1024, 1025, 1026, 2049]),  # columns are multiplied 1,024 at a time
    dimensions=st.integers(1, 70),
    metric=st.sampled_from(["euclidean", "cosine"]),
    rows=st.integers(1, 40),
)
def test_blocks_of_any_size_agree_bit_for_bit(seed, n_queries, n_gallery, dimensions, metric, rows):
    rng = np.random.default_rng(seed)
    different = rng.normal(size=(max(n_gallery // 3, 1), dimensions)).astype(np.float32)
    copied = rng.integers(0, len(different), n_gallery)
    gallery, query = different[copied], rng.normal(size=(n_queries, dimensions)).astype(np.float32)
    ids = rng.integers(0, 5, n_queries), rng.integers(-1, 5, n_gallery)
    whole, parts = (
        evaluate(query, gallery, *ids, metric=metric, top_k=n_gallery, block_mb=block_mb)
        for block_mb in (128, rows * n_gallery * 4 / 2**20)
    )
    for name in ("ap", "first_hit", "inp", "ties", "indices", "distances"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    columns = torch.from_numpy(rng.permutation(n_gallery)[: n_gallery // 2 + 1])
    distance = FeatureDistance(query, gallery, metric)
    everything = distance.block(slice(0, n_queries), slice(0, n_gallery))
    assert torch.equal(distance.block(slice(0, n_queries), columns), everything[:, columns])
    first = np.unique(copied, return_index=True)[1][np.unique(copied, return_inverse=True)[1]]
    assert torch.equal(everything, everything[:, torch.from_numpy(first)])  # copies are equally far
