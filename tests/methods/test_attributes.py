"""The classifier of one attribute, and the share it names right."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from src.methods.attributes import Accuracy, AttributeClassifier, NamesAttributes
from src.methods.bot import BoT
from src.networks import Backbone

NAMES = {"colour": ["blue", "red", "white"], "type": ["bus", "van"]}


class Log:
    """Keeps what is logged."""

    def __init__(self):
        self.metrics = {}

    def log(self, name, metric, **_):
        self.metrics[name] = metric


@pytest.mark.parametrize(("attribute", "count"), [("colour", 3), ("type", 2)])
def test_it_learns_the_names_of_its_attribute(attribute, count):
    method = AttributeClassifier(Backbone("resnet18"), 99, NAMES, attribute, dimension=8)
    batch = {
        "image": torch.randint(0, 256, (5, 3, 64, 64), dtype=torch.uint8),
        attribute: torch.tensor([1, -1, 0, 1, -1]),
    }
    losses = method.losses(batch)
    logits = method.attribute_logits(batch)[attribute]
    assert logits.shape == (5, count)
    known = batch[attribute] >= 0
    expected = F.cross_entropy(logits[known], batch[attribute][known])
    assert set(losses) == {"cross_entropy"}
    torch.testing.assert_close(losses["cross_entropy"], expected)
    assert AttributeClassifier.needed({"attribute": attribute}) == {attribute}
    assert method.names == {attribute: tuple(NAMES[attribute])}


def test_what_names_attributes_is_told_apart():
    assert isinstance(AttributeClassifier(Backbone("resnet18"), 9, NAMES), NamesAttributes)
    assert not isinstance(BoT(Backbone("resnet18"), 9), NamesAttributes)
    with pytest.raises(ValueError, match=r"method\.attribute is 'make', expected colour or type"):
        AttributeClassifier(Backbone("resnet18"), 9, NAMES, "make")


def test_accuracy_counts_what_is_known_over_all_batches():
    accuracy, log = Accuracy(["colour"]), Log()
    right = known = 0
    for _ in range(5):
        logits, wanted = torch.randn(7, 3), torch.randint(-1, 3, (7,))
        accuracy.log(log, "val", {"colour": logits}, {"colour": wanted})
        for scores, place in zip(logits.tolist(), wanted.tolist(), strict=True):
            known += place >= 0
            right += place >= 0 and scores.index(max(scores)) == place
    assert log.metrics["val/colour_accuracy"].compute().item() == pytest.approx(right / known)
    assert accuracy.state_dict() == {}


class Trained(Log):
    """A method in a trainer, with the data set that it is trained and validated on."""

    def __init__(self, colours, learnt):
        super().__init__()
        table = pd.DataFrame({"split": ["train", "train", "query", "gallery"], "colour": colours})
        data = SimpleNamespace(table=table, eval_rows=np.array([2, 3]), names={"colour": learnt})
        self._trainer = SimpleNamespace(datamodule=data)


@pytest.mark.parametrize(
    ("colours", "logged"),
    [
        (["red", "", "red", ""], ["train", "val"]),
        (["red", "white", "", ""], ["train"]),
        (["red", "white", "pink", ""], ["train"]),  # which no training image has
        (["", "", "red", "red"], []),  # nothing was learnt
    ],
)
def test_without_labels_nothing_is_logged(colours, logged):
    learnt = sorted(set(colours[:2]) - {""})
    accuracy, log = Accuracy(["colour"]), Trained(colours, learnt)
    for stage in ("train", "val"):
        for known in (torch.tensor([-1, -1]), torch.tensor([-1, 0])):  # a batch without any is logged like the others
            accuracy.log(log, stage, {"colour": torch.randn(2, 2)}, {"colour": known})
            assert (f"{stage}/colour_accuracy" in log.metrics) == (stage in logged)
