import numpy as np
import pytest
import torch

from src.data import build_tasks, make_table
from src.evaluation.retrieval_metric import RetrievalMetric
from src.retrieval import evaluate


def veri_table(n, rng):
    """A table with the columns that image and track tasks look at."""
    ids = rng.integers(0, 5, n)
    cameras = rng.integers(0, 3, n)
    return make_table(
        "/data",
        "cars",
        {
            "path": [f"{i}.jpg" for i in range(n)],
            "vehicle_id": ids,
            "camera_id": cameras,
            "track_id": ids * 3 + cameras,
            "split": rng.choice(["train", "query", "gallery", "test"], n),
        },
    )


def test_every_task_is_evaluated_over_its_rows_whatever_the_order_of_batches(subtests):
    rng = np.random.default_rng(3)
    table = veri_table(120, rng)
    tasks = build_tasks(table, ["image_to_image", "image_to_track"])
    features = torch.from_numpy(rng.normal(size=(120, 6))).float()
    metric = RetrievalMetric(table, tasks)
    # Shuffled, in uneven batches, with rows that come twice as a padding sampler would send them.
    order = np.concatenate([rng.permutation(120), rng.integers(0, 120, 7)])
    for rows in np.array_split(order, 5):
        metric.update(features[rows], torch.from_numpy(rows))
    values = metric.compute()
    for task in tasks:
        with subtests.test(task.name):
            query, gallery = task.trials[0].query, task.trials[0].gallery
            columns = {c: table[c].to_numpy() for c in ("vehicle_id", "camera_id", "track_id")}
            expected = evaluate(
                features[query],
                features[gallery],
                columns["vehicle_id"][query],
                columns["vehicle_id"][gallery],
                query_cameras=columns["camera_id"][query],
                gallery_cameras=columns["camera_id"][gallery],
                ignore="same_camera",
                gallery_tracks=columns["track_id"][gallery] if task.name == "image_to_track" else None,
            )
            assert metric.results[task.name].mean_ap == expected.mAP
            assert values[f"{task.name}/mAP"] == torch.tensor(expected.mAP)
            assert values[f"{task.name}/rank1"] == torch.tensor(expected.cmc(1))
            stored = metric.results[task.name].record()
            assert stored.rank[5] == expected.cmc(5)
            assert stored.gallery == expected.n_gallery
            assert stored.skipped == int((~expected.valid).sum())
    means = [metric.results[task.name].mean_ap for task in tasks]
    assert float(values["mAP"]) == np.float32(np.mean(means))
    assert torch.equal(metric.embeddings.features, features[metric.embeddings.rows])


def test_breakdowns_are_of_the_queries_of_a_group():
    rng = np.random.default_rng(4)
    table = veri_table(120, rng)
    table["colour"] = rng.choice(["red", "blue", ""], 120)
    metric = RetrievalMetric(table, build_tasks(table, ["image_to_image"]))
    metric.update(torch.from_numpy(rng.normal(size=(120, 6))).float(), torch.arange(120))
    metric.compute()
    result = metric.results["image_to_image"]
    breakdowns = result.breakdowns(table)
    assert sorted(breakdowns) == ["camera_id", "colour"]  # no domain or type is known
    for column, groups in {"camera_id": ["0", "1", "2"], "colour": ["blue", "red"]}.items():
        assert sorted(breakdowns[column]) == groups
        for group in groups:
            own = table[column].to_numpy()[result.task.trials[0].query].astype(str) == group
            ap, first = result.trials[0].ap[own], result.trials[0].first_hit[own]
            ap, first = ap[~np.isnan(ap)], first[~np.isnan(ap)]
            found = breakdowns[column][group]
            assert found.mAP == pytest.approx(ap.mean())
            assert pytest.approx((first == 1).mean()) == found.R1
            assert found.queries == len(ap) > 0
