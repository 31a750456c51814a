"""Initial weights of the parts of a network, in words."""

from collections.abc import Iterator

from omegaconf import DictConfig


def initial_weights(cfg: DictConfig) -> Iterator[tuple[str, bool]]:
    """Says what each stage of a run starts from.

    Args:
        cfg: The checked configuration of `src.train`.

    Yields:
        A sentence, and whether it is a warning: that a whole backbone starts from random weights.
    """
    names = [str(name) for name in cfg.stages]
    first = str(cfg.start or names[0])
    for name in names[names.index(first) :]:
        stage = cfg.stages[name]
        load = stage.get("load", "previous")
        anew = " and ".join(stage.get("replace", ())) or "nothing"
        if load not in (None, "previous"):
            yield f"Weights of stage {name}: those of {load}; random: {anew}.", False
        elif load == "previous" and name != first:
            yield f"Weights of stage {name}: those of the stage before; random: {anew}.", False
        else:
            yield _own(cfg.backbone, name)


def _own(backbone: DictConfig, stage: str) -> tuple[str, bool]:
    """Says what a stage starts from that loads nothing."""
    weights, network = backbone.get("weights"), backbone.get("name", backbone._target_)
    if backbone.get("ibn"):
        network = f"{network} (ibn={backbone.ibn})"
    if weights is None:
        return (
            f"Weights of stage {stage}: RANDOM in the whole network. backbone.weights=null, so the {network} is not "
            "pretrained, and what it comes to does not compare with published numbers; pass a file of weights "
            "(conf/backbone/ says under which key), or a backbone that has some.",
            True,
        )
    source = {"timm": "timm's pretrained ones", "package": "the installed package's ImageNet weights"}
    blocks = "non-local blocks and " if any(backbone.get("non_local") or ()) else ""
    return (
        f"Weights of stage {stage}: {network} has {source.get(str(weights), f'those of {weights}')}; random: {blocks}"
        "everything behind the backbone.",
        False,
    )
