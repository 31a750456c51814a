"""VehicleNet's post-processing from end to end: crops, two models, a camera model, all of Table VI in one list."""

import cv2
import pandas as pd
import pytest

from src.evaluation import evaluation_run as evaluation
from src.training import run as stages

SMALL = ("backbone=efficientnet_lite0", "transforms.size=32", "workers=0", "trainer=cpu", "debug=one_batch")
TABLE_VI = ["average", "concatenate", "dbscan_expansion", "camera_verification", "k_reciprocal"]


def trained(composed, tmp_path, name, *overrides):
    run = tmp_path / name
    stages.run(composed(*SMALL, "data=quickstart_veri", *overrides, f"paths.run_dir={run}"))
    return run


@pytest.mark.slow
def test_crops_models_and_cameras_come_together(composed, tmp_path, quickstart_veri):
    models = [trained(composed, tmp_path, f"model_{seed}", "method=vehiclenet", f"seed={seed}") for seed in (0, 1)]
    camera = trained(composed, tmp_path, "camera", "method=camera_classifier")
    table = pd.read_csv(models[0] / "embeddings/table.csv")
    tested = table.loc[table["split"] != "train", "path"].drop_duplicates()
    boxes = [
        f"{width // 8} {height // 8} {width * 7 // 8} {height * 7 // 8}"
        for height, width, _ in (cv2.imread(str(quickstart_veri / path)).shape for path in tested)
    ]
    pd.DataFrame({"path": tested, "box": boxes}).to_csv(tmp_path / "boxes.csv", index=False)
    folders = []
    for model in models:
        cropped = tmp_path / f"{model.name}_cropped"
        evaluation.run(
            composed(
                *(f"checkpoint={model}/stages/main/last.ckpt", "data=quickstart_veri", "workers=0"),
                *(f"data.extra={tmp_path}/boxes.csv", f"paths.run_dir={cropped}"),
                config="evaluate",
            )
        )
        folders += [f"{model}/embeddings", f"{cropped}/embeddings"]
    metrics = evaluation.run(
        composed(
            *(f"embeddings=[{','.join(folders)}]", f"retrieval.steps=[{','.join(TABLE_VI)}]"),
            *("retrieval.average.looks=2", "retrieval.dbscan_expansion.eps=0.2"),
            *(f"retrieval.camera_verification.embeddings={camera}/embeddings", f"paths.run_dir={tmp_path}/all"),
            config="evaluate",
        )
    )
    task = metrics.tasks["image_to_image"]
    assert list(metrics.postprocessing) == TABLE_VI
    assert [model.dimensions for model in metrics.models] == [512] * 4
    assert task.filtered > 0  # images that the camera model took for the query's camera
    assert 0 < task.mAP < 1
