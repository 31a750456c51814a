import csv

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from torch.nn import functional as F

from src.config.data_node import build_data, loading
from src.evaluation.retrieval_callback import RetrievalEvaluation
from src.methods.pretrained import PretrainedFeatures
from src.networks import Backbone
from src.retrieval import evaluate


@pytest.fixture
def data(composed):
    cfg = composed("method=bot", "data=quickstart", "transforms.size=16", "workers=0", "eval_batch_size=50")
    module = build_data(cfg.data, transforms=cfg.transforms, **loading(cfg))
    module.setup()
    return module


class Means(PretrainedFeatures):
    """The mean colour of an image."""

    def embed(self, batch):
        return batch["image"].float().mean(dim=(2, 3))


def test_what_a_method_returns_is_measured_by_the_exact_evaluator(data, tmp_path):
    evaluation = RetrievalEvaluation(top_k=3)
    logger = CSVLogger(tmp_path, name="", version="")
    trainer = Trainer(accelerator="cpu", logger=logger, callbacks=[evaluation], enable_progress_bar=False)
    trainer.test(Means(Backbone("resnet18")), data, verbose=False)
    embeddings = evaluation.embeddings
    assert np.array_equal(embeddings.rows, data.eval_rows)
    pixels = torch.stack([torch.as_tensor(data.eval_dataset()[row]["image"]) for row in data.eval_rows[:5].tolist()])
    torch.testing.assert_close(embeddings.features[:5], F.normalize(pixels.float().mean(dim=(2, 3))))
    with (tmp_path / "metrics.csv").open() as file:
        logged = {name: float(value) for name, value in next(iter(csv.DictReader(file))).items() if value}
    for task in data.tasks:
        (trial,) = task.trials
        ids = data.table["vehicle_id"].to_numpy()
        expected = evaluate(
            embeddings.of(trial.query),
            embeddings.of(trial.gallery),
            ids[trial.query],
            ids[trial.gallery],
            ignore="none",
        )
        result = evaluation.results[task.name]
        assert result.mean_ap == expected.mAP
        assert result.trials[0].indices.shape == (len(trial.query), 3)
        assert logged[f"test/{task.name}/mAP"] == pytest.approx(expected.mAP)
        assert logged[f"test/{task.name}/rank1"] == pytest.approx(expected.cmc(1))
    assert logged["test/mAP"] == pytest.approx(np.mean([result.mean_ap for result in evaluation.results.values()]))


def test_a_validation_keeps_no_rank_lists(data):
    evaluation = RetrievalEvaluation(top_k=3)
    trainer = Trainer(accelerator="cpu", logger=False, callbacks=[evaluation], enable_progress_bar=False)
    (values,) = trainer.validate(Means(Backbone("resnet18")), data, verbose=False)
    for task in data.tasks:
        assert evaluation.results[task.name].trials[0].indices.shape[1] == 0
        assert values[f"val/{task.name}/mAP"] == pytest.approx(evaluation.results[task.name].mean_ap)
