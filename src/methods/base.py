"""Base class of the methods: training step, embeddings, frozen parts, and a checkpoint that describes itself."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F

from src.losses import CenterLoss
from src.methods.optim import Optim
from src.methods.tta import Batch, Views
from src.networks import Backbone
from src.networks.backbone.weights import differences
from src.networks.blocks.bnneck import Classifier
from src.networks.recording import recorded
from src.runtime.errors import did_you_mean

log = logging.getLogger(__name__)


class Step(NamedTuple):
    """One step of what a method does to images, a column of a picture.

    Attributes:
        module: What it belongs to.
        title: What is seen.
        formula: Its symbol in the paper, in matplotlib's notation.
        maps: `(B, h, w)`.
        scale: Steps of one scale share their colours; `""` for one from 0 to 1.
    """

    module: str
    title: str
    formula: str
    maps: Tensor
    scale: str


class ReIDMethod(LightningModule):
    """A re-identification method: a network, its losses, and what it needs from the data.

    A subclass builds its network from `backbone` and `num_classes` and implements `embed` and `losses`; it may name
    its `head`. Embeddings are L2-normalised here, once, so that every distance downstream means the same.

    Attributes:
        needs: Columns of the record table without which the method cannot train (`"domain"`, `"colour"`, …).
        needs_option: Name of an option that names such columns too: one, or a list.
        class_column: Column of the record table whose values are the classes.
        test_options: Names of the options that change embeddings and no weights, so that a checkpoint can be tested
            with other values than it was trained with.
        optim: The optimiser of the current stage; see `begin_stage`.
        provenance: Stored in the checkpoint under `reid`: configuration, class list, data fingerprint. Plain values
            only, so that the file loads with `weights_only=True`.
        frozen: Names of the modules that stay as they are in the current stage.
        views: How many times an image is embedded, and how, at test; see `average_over`.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    needs_option: ClassVar[str] = ""
    class_column: ClassVar[str] = "vehicle_id"
    test_options: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.frozen: tuple[str, ...] = ()
        self.optim: Optim | None = None
        self.provenance: dict[str, Any] = {}
        self.views = Views()

    @classmethod
    def needed(cls, options: Mapping[str, Any]) -> frozenset[str]:
        """The columns without which the method cannot train with these options, its node of a configuration."""
        named = options.get(cls.needs_option, ())
        return cls.needs | frozenset([named] if isinstance(named, str) else named)

    def embed(self, batch: Batch) -> Tensor:
        """Embeddings `(B, D)` of a batch, not yet normalised."""
        raise NotImplementedError

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The loss terms of a training batch, already weighted: the training loss is their sum."""
        raise NotImplementedError

    @property
    def head(self) -> Sequence[nn.Module]:
        """The parts that learn at `optim.head_factor` times the rate: classifier and neck."""
        return ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what `embed` looks at in a batch, in the order in which an exported network takes it."""
        return ("image",)

    def drop_classifier(self) -> None:
        """Forgets the classes, which take memory and play no part in embedding; the method cannot train any more."""
        for parent in [*self.modules()]:
            for name, module in parent.named_children():
                if isinstance(module, Classifier):
                    setattr(parent, name, nn.Identity())

    def completed(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """A checkpoint's weights, with what the method did not have when the checkpoint was written."""
        return weights

    @property
    def class_modules(self) -> tuple[str, ...]:
        """Names of the modules that are of the training classes: classifiers and centres."""
        kinds = (Classifier, CenterLoss)
        return tuple(name for name, module in self.named_modules() if isinstance(module, kinds))

    @property
    def feature_maps(self) -> dict[str, nn.Module]:
        """Modules whose outputs `(B, C, h, w)` are worth a look, by what to call them: the backbone's last stage."""
        backbone = next(part for part in self.modules() if isinstance(part, Backbone))
        return {"last stage": backbone.stages[-1]}

    @torch.no_grad()
    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """Maps of feature strength, `(B, h, w)` for each of `feature_maps`: the mean of the squares over its channels.

        Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017, F²_sum but for a constant factor.
        """
        with recorded(self.feature_maps) as calls:
            self.embed(batch)
        outputs = {name: seen[-1].output for name, seen in calls.items()}
        # a stage passes on more than its map
        maps = {name: output[0] if isinstance(output, tuple) else output for name, output in outputs.items()}
        return {name: features.float().square().mean(dim=1) for name, features in maps.items()}

    @property
    def explanation(self) -> str:
        """The steps that `explain` shows, in a sentence; empty where there are none."""
        return ""

    def explain(self, batch: Batch) -> list[Step]:
        """What the method's own modules do to a batch, as it is embedded."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Tensor:
        """L2-normalised embeddings `(B, D)` of a batch, float32."""
        return F.normalize(torch.stack([self.embed(view).float() for view in self.views(batch)]).sum(dim=0))

    def training_step(self, batch: Batch) -> Tensor:
        """Sums the loss terms and logs each."""
        return self.summed(self.losses(batch), batch)

    def summed(self, losses: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """The training loss, the sum of its terms; each of them is logged."""
        total = torch.stack([*losses.values()]).sum()
        self.log("train/loss", total, prog_bar=True, on_step=True, on_epoch=False)
        for name, value in {**losses, "total": total}.items():
            size = len(batch["label"])
            self.log(f"train/{name}", value, on_step=False, on_epoch=True, batch_size=size, sync_dist=True)
        return total

    def begin_stage(self, optim: Optim, freeze: Sequence[str], provenance: Mapping[str, Any]) -> None:
        """Prepares the method for training in a stage.

        Args:
            optim: The stage's optimiser.
            freeze: Names of modules that stay as they are; see `freeze_parts`.
            provenance: What the stage's checkpoints say of themselves; see the attribute.
        """
        self.freeze_parts(freeze)
        self.optim = optim
        self.provenance = dict(provenance)

    def average_over(self, views: Views) -> None:
        """Embeds every image in these views from now on, and takes the mean."""
        self.views = views

    def take_over(
        self, weights: Mapping[str, Tensor], replace: Sequence[str], source: str, allow_partial: bool = False
    ) -> None:
        """Takes over the weights of an earlier stage or another run, all but those that start anew.

        Args:
            weights: A state dict.
            replace: Parts of names: what has one in its name starts anew. `"classifier"` also stands for all modules of
                the training classes.
            source: Where the weights are from, for the message.
            allow_partial: Take over what fits by name and shape, and say what does not.

        Raises:
            ValueError: If any other name or shape differs, or with `allow_partial` all of them.
        """
        weights = self.completed(weights)
        of_classes = tuple(f"{name}." for name in self.class_modules) if "classifier" in replace else ()
        own, given = (
            {
                name: value
                for name, value in state.items()
                if not name.startswith(of_classes) and not any(part in name for part in replace)
            }
            for state in (self.state_dict(), weights)
        )
        fitting = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
        if wrong := differences(own, given):
            if not fitting:
                raise ValueError(f"Nothing of the weights of {source} fits: {wrong}; use the same method and backbone.")
            if not allow_partial:
                raise ValueError(
                    f"The weights of {source} do not fit: {wrong}; use the same method and backbone, name in the "
                    f"stage's `replace` what shall start anew (now {', '.join(replace) or 'nothing'}), or set its "
                    f"`allow_partial` to take over the {len(fitting)} of {len(own)} that fit."
                )
            log.warning("Of %s %d of %d weights are taken over; left out: %s.", source, len(fitting), len(own), wrong)
        self.load_state_dict(fitting, strict=False)

    def check_parts(self, names: Sequence[str]) -> None:
        """Refuses names that are no modules of this method.

        Args:
            names: Names of modules, `"backbone.stages.0"`.

        Raises:
            ValueError: If there is no such module.
        """
        modules = dict(self.named_modules())
        for name in names:
            if name not in modules:
                parts = ", ".join(child for child, _ in self.named_children())
                hint = did_you_mean(name, modules, f"; its parts are {parts}.")
                raise ValueError(f"The stage freezes {name!r}, which {type(self).__name__} does not have{hint}")

    def freeze_parts(self, names: Sequence[str]) -> None:
        """Keeps modules as they are, the statistics of their normalisations too; `names` as for `check_parts`."""
        self.check_parts(names)
        for name in names:
            self.get_submodule(name).requires_grad_(False).eval()
        self.frozen = tuple(names)

    def train(self, mode: bool = True) -> Self:
        """Switches to training, frozen parts excepted: their statistics must not move."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    def configure_optimizers(self) -> Any:
        """The stage's optimiser, and its schedule stepped once an epoch."""
        if self.optim is None:
            raise RuntimeError("Call `method.begin_stage` before fitting: the stage decides the optimiser.")
        factor = 1.0
        if self.optim.scale_lr != "none":
            trainer = cast(Any, self.trainer)
            images = trainer.datamodule.train_batch_size * trainer.world_size * trainer.accumulate_grad_batches
            factor = self.optim.factor(images)
            log.info("Learning rates × %.3g, for %d images a step.", factor, images)
        optimizer, schedule = self.optim.build(self, self.head, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}

    def validation_step(self, batch: Batch) -> Tensor:
        """Embeds a batch."""
        return self(batch)

    def test_step(self, batch: Batch) -> Tensor:
        """Embeds a batch."""
        return self(batch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what a stranger needs to use the weights."""
        checkpoint["reid"] = self.provenance
