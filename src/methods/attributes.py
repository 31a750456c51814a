"""Attributes of vehicles, colour and type: what learning them has in common, and a classifier of one of them."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, cast, runtime_checkable

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from src.losses import cross_entropy
from src.methods.base import Batch
from src.methods.vehiclenet import VehicleNet
from src.networks import Backbone

#: Name of an attribute (a column of the record table) → the names that its values have in the training images, sorted.
Names = Mapping[str, Sequence[str]]


@runtime_checkable
class NamesAttributes(Protocol):
    """Method that can label images.

    Attributes:
        names: Of the attributes that it was built with.
    """

    names: Names

    def attribute_logits(self, batch: Batch) -> dict[str, Tensor]:
        """Attribute → logits of its names, `(B, K)`."""
        ...


class Share(Metric):
    """The share of right ones among known ones, counted where they are: `MeanMetric` looks for NaN in every batch."""

    right: Tensor
    known: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("right", "known"):
            self.add_state(name, torch.zeros(()), dist_reduce_fx="sum")

    def update(self, right: Tensor, known: Tensor) -> None:
        """Counts a batch.

        Args:
            right: `(B,)`, true where an image is named right.
            known: `(B,)`, true where it has a name.
        """
        self.right += (right & known).sum()
        self.known += known.sum()

    def compute(self) -> Tensor:
        """The share, a scalar; not a number if nothing is known."""
        return self.right / self.known


class Accuracy(nn.Module):
    """The share of images whose attribute is named right, among those for which it is known.

    Args:
        attributes: Names of the attributes.
    """

    def __init__(self, attributes: Sequence[str]) -> None:
        super().__init__()
        keys = [f"{stage}_{name}" for stage in ("train", "val") for name in attributes]
        self.shares = nn.ModuleDict({key: Share() for key in keys})
        self._labelled: dict[tuple[int, str, str], bool] = {}

    def log(self, method: LightningModule, stage: str, logits: Mapping[str, Tensor], batch: Batch) -> None:
        """Counts a batch; the epoch's share is logged as `<stage>/<attribute>_accuracy`, where there are labels.

        Args:
            method: The module that logs.
            stage: `"train"` or `"val"`.
            logits: Attribute → logits of its names.
            batch: The batch, with the places of the right names.
        """
        for name, scores in logits.items():
            if not self._has_labels(method, stage, name):
                continue
            share = cast(Share, self.shares[f"{stage}_{name}"])
            share.update(scores.argmax(dim=1) == batch[name], batch[name] >= 0)
            method.log(f"{stage}/{name}_accuracy", share, on_step=False, on_epoch=True)

    def _has_labels(self, method: LightningModule, stage: str, attribute: str) -> bool:
        """Whether any image of a stage has a label that was learnt: without, the share would be NaN.

        By the table, which is the same in all processes, and not by the batch: they must all log the same.
        """
        data: Any = getattr(getattr(method, "_trainer", None), "datamodule", None)
        if data is None:
            return True
        key = (id(data), stage, attribute)
        if key not in self._labelled:
            table = data.table[data.table["split"] == "train"] if stage == "train" else data.table.iloc[data.eval_rows]
            self._labelled[key] = bool(set(table[attribute]) & set(data.names[attribute]))
        return self._labelled[key]


class AttributeClassifier(VehicleNet):
    """VehicleNet's network, told to name the colour or the type instead of the vehicle.

    The paper trains one of each to label the gallery for its attribute constraint (Section 3.3), and does not say how.

    Args:
        backbone: Any.
        num_classes: Not used: classes are the attribute's names.
        names: Names of the attributes.
        attribute: `"colour"` or `"type"`.
        dimension: Length of the embedding.
    """

    needs_option: ClassVar[str] = "attribute"

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        names: Names,
        attribute: Literal["colour", "type"] = "colour",
        dimension: int = 512,
    ) -> None:
        if attribute not in ("colour", "type"):
            raise ValueError(f"method.attribute is {attribute!r}, expected colour or type.")
        super().__init__(backbone, len(names[attribute]), dimension)
        self.attribute = attribute
        self._accuracy = Accuracy([attribute])
        self.names: Names = {attribute: tuple(names[attribute])}

    def attribute_logits(self, batch: Batch) -> dict[str, Tensor]:
        """See `NamesAttributes`."""
        return {self.attribute: self.classifier(self.embed(batch))}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy over the images whose attribute is known."""
        return self.losses_of(self.attribute_logits(batch), batch)

    def losses_of(self, logits: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """The loss of the attribute's logits."""
        return {"cross_entropy": cross_entropy(logits[self.attribute], batch[self.attribute])}

    def training_step(self, batch: Batch) -> Tensor:
        """Sums the loss terms and logs each; logs the share of images that are named right."""
        logits = self.attribute_logits(batch)
        self._accuracy.log(self, "train", logits, batch)
        return self.summed(self.losses_of(logits, batch), batch)

    def validation_step(self, batch: Batch) -> Tensor:
        """Embeds a batch, and names the attribute."""
        feature = self.embed(batch)
        self._accuracy.log(self, "val", {self.attribute: self.classifier(feature)}, batch)
        return F.normalize(feature.float())
