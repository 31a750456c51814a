"""What DNDM's modules do to images, step by step, to be looked at."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from src.methods.base import Step
from src.methods.tta import Batch
from src.networks import ClassAwareness, DNDMNetwork, StructureEnhancement
from src.networks.recording import Call, recorded


@torch.no_grad()
def dndm_steps(network: DNDMNetwork, batch: Batch) -> list[Step]:
    """The steps of the modules that a network has.

    Maps of features are their root mean square over the channels. Structure enhancement is shown after the first of its
    stages, where maps are finest, class awareness after its first and its last one. Class maps are of the training
    vehicle that the images of a vehicle are taken for, by the mean of their scores, day and night alike: the vehicles
    of a test have no class of their own.

    Args:
        network: Ready to embed, with its classifier.
        batch: As `DNDM.embed` takes it, with the vehicles' numbers.
    """
    awareness = {stage: module for stage, module in network.awareness.items() if isinstance(module, ClassAwareness)}
    modules = {f"CCA {stage}": module for stage, module in awareness.items()} | {"DSE": network.structure}
    with recorded(modules | ({} if network.glare is None else {"NGS": network.glare})) as calls:
        out = network(batch["image"], batch["domain"], glare=batch.get("glare"))
    steps: list[Step] = []
    if network.glare is not None:
        x, mask = calls["NGS"][0].inputs
        module = (
            "NGS, night-domain glare suppression\nHighlights of a night image prompt a mask, by day nothing "
            f"does; the stem's features lose {network.glare.alpha:g} $M_0$ of themselves."
        )
        steps += [
            Step(module, "glare mask", "$M_G$", mask[:, 0].float(), ""),
            Step(module, "suppression mask", "$M_0$", network.glare.suppression(x, mask)[:, 0], ""),
        ]
    if network.structure_stages:
        steps += _structure(calls["DSE"][0], min(network.structure_stages), network.structure)
    if awareness and out.logits is not None:
        rows = _taken_for(out.logits, batch["vehicle_id"])
        steps += _class_maps(network, {stage: calls[f"CCA {stage}"][0].inputs[0] for stage in awareness}, rows)
    return steps


def _structure(call: Call, stage: int, enhancement: StructureEnhancement) -> Iterator[Step]:
    """The map of a stage before and after it was enhanced, and what was added to it."""
    (before,), after = call
    beta, window = enhancement.beta, enhancement.window
    whole = StructureEnhancement(1, window)
    module = (
        f"DSE, dual-domain structure enhancement, stage {stage}\nOf a place's {window} × {window} neighbours "
        "those that are stronger are averaged, each by how much it is; "
        f"{beta:g} of that is added, so that outlines stand out."
    )
    yield Step(module, "features before", f"$T_{stage}$", _strength(before), "features")
    yield Step(module, "structural descriptor", f"$S_{stage}$", _strength(whole(before) - before), "structure")
    yield Step(module, "features after", f"$T_{stage} + {beta:g}\\,S_{stage}$", _strength(after), "features")


def _class_maps(network: DNDMNetwork, features: dict[str, Tensor], rows: Tensor) -> Iterator[Step]:
    """The class maps of the first and the last stage, of classes that are given for each image."""
    shown: Sequence[str] = sorted({min(features), max(features)})
    text = (
        "CCA, cross-domain class awareness\nWhere features speak for y, the training vehicle that the images of a "
        "vehicle are taken for. Training multiplies day with the night's map and night with the day's."
    )
    for stage in shown:
        module = network.awareness[stage]
        if isinstance(module, ClassAwareness) and network.classifier is not None:
            weight, bias = network.classifier.weight[rows], network.classifier.bias[rows]
            maps = module.class_map(features[stage], weight, bias)
            yield Step(text, f"class map, stage {stage}", "$A_y$", maps, f"class map {stage}")


def _strength(features: Tensor) -> Tensor:
    return features.float().square().mean(dim=1).sqrt()


def _taken_for(logits: Tensor, vehicles: Tensor) -> Tensor:
    """The class `(B,)` that all images of a vehicle are taken for; images of unknown vehicles each for themselves."""
    same = (vehicles[:, None] == vehicles) & (vehicles >= 0) | torch.eye(
        len(vehicles), dtype=torch.bool, device=vehicles.device
    )
    return (same.to(logits.dtype) @ logits).argmax(dim=1)
