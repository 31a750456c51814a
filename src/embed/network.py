"""The network of an embedder: PyTorch, or an engine that computes the same faster."""

import logging
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import cast, get_args

import torch
from torch import Tensor

from src.checkpoints.engines import Engine, Run, installed, named, open_network, require
from src.checkpoints.exportable import Exportable, as_onnx, random_input, trace
from src.checkpoints.restore import saved_transforms
from src.config.schema import EngineChoice
from src.embed.engine_cache import EngineCache, Kept
from src.methods.base import ReIDMethod
from src.methods.tta import Batch
from src.runtime.errors import ConfigError
from src.runtime.provenance import file_sha

log = logging.getLogger(__name__)

#: Images from which on `auto` converts a network, which takes as long as PyTorch takes for so many small ones.
WORTH_CONVERTING = 1000
#: Largest difference to PyTorch in any number of an embedding of length 1, as for `src.export`.
TOLERANCE = 1e-4
_SAMPLES = 8  # images that are compared
_ROUNDS = 5


class Network:
    """A method as a function of batches, on the engine that was asked for.

    An engine takes over once it computes on real images what PyTorch computes: `prepare` compares some of the first
    batch, in every process. What was converted is kept for the next one, see `EngineCache`.

    Args:
        method: Ready to embed; its views are taken as they are at the first batch.
        checkpoint: Its file.
        engine: `"torch"`; `"openvino"` or `"onnxruntime"`, which is an error where it is not possible; or `"auto"`: the
            fastest of those that are installed and compute the same, else PyTorch.
        device: Where the method is.
        precision: What it computes in, as the trainer has it; engines compute in single precision.

    Attributes:
        engine: What computes: `"torch"` before the first batch.

    Raises:
        ConfigError: If the engine is not there.
        ValueError: If the engine is unknown, or the precision not its own.
    """

    def __init__(
        self,
        method: ReIDMethod,
        checkpoint: Path,
        engine: EngineChoice,
        device: torch.device,
        precision: str = "32-true",
    ) -> None:
        if engine not in get_args(EngineChoice):
            raise ValueError(f"engine is {engine!r}, expected one of {', '.join(get_args(EngineChoice))}.")
        self.engine: str = "torch"
        self._method, self._checkpoint, self._device = method, checkpoint, device
        self._asked: EngineChoice = engine
        self._run: Run | None = None
        self._alone = threading.Lock()
        self._decided = engine == "torch"
        self._checkpoint_sha = ""
        if engine == "auto":
            self._decided = precision != "32-true" or not installed(device)
        elif engine != "torch":
            if precision != "32-true":
                raise ValueError(f"engine={engine} computes in 32-true, precision is {precision}; pass engine=torch.")
            require(engine, device)
        if not self._decided:
            self._checkpoint_sha = file_sha(checkpoint)

    def __call__(self, batch: Batch) -> Tensor:
        """L2-normalised embeddings `(B, D)` of a batch, float32."""
        return self._method(batch) if self._run is None else self._run(*self._inputs(batch))

    @torch.no_grad()
    def prepare(self, batch: Batch, images: int) -> None:
        """Decides on the engine, if that is not decided yet.

        Args:
            batch: Some of the images to come.
            images: How many there are going to be. `"auto"` takes a network that is converted already for a single
                one, and converts for `WORTH_CONVERTING`.

        Raises:
            ConfigError: If the engine that was asked for by name cannot convert the network, or computes something
                else.
        """
        with self._alone:
            if not self._decided:
                self._decided = self._decide(_some(batch), images)

    def _decide(self, batch: Batch, images: int) -> bool:
        size = saved_transforms(self._method).height_and_width
        cache = EngineCache(self._checkpoint, self._checkpoint_sha, self._method, size, self._device)
        if self._reopen(cache, batch):
            return True
        if self._asked == "auto" and images < WORTH_CONVERTING:
            return False
        try:
            self._convert(cache, batch)
        except Exception as error:  # exporters fail in many ways
            why = f"the network cannot be converted ({_first_line(error)})"
            if self._asked != "auto":
                raise ConfigError(f"engine={self._asked}: {why}; pass engine=torch.") from error
            log.warning("Embeds with PyTorch: %s.", why)
            if not isinstance(error, OSError | MemoryError):  # which another time may not meet
                cache.keep("torch", why.encode())
        return True

    def _reopen(self, cache: EngineCache, batch: Batch) -> bool:
        """Takes what an earlier process has kept, if there is something, and it is right."""
        if self._asked == "auto":
            kept = cache.find()
            if kept is not None and kept.engine == "torch":
                why = kept.file.read_text(encoding="utf-8", errors="replace")
                log.info("Embeds with PyTorch: %s. Delete %s to try again.", why, kept.file)
                return True
        else:
            file = cache.find_network()
            kept = None if file is None else Kept(self._asked, file)
        if kept is None:
            return False
        try:
            self._run, difference = self._opened(cast(Engine, kept.engine), kept.file, batch)
        except Exception as error:
            log.warning("%s is not used and deleted: %s.", kept.file, _first_line(error))
            with suppress(OSError):
                kept.file.unlink(missing_ok=True)
            return False
        self._report(kept.engine, difference, "", kept.file)
        return True

    def _convert(self, cache: EngineCache, batch: Batch) -> None:
        """Converts the network, tries it on all engines, and keeps it under the name of the fastest."""
        log.info("Converting the network for a faster engine, which is done once for a checkpoint …")
        network, inputs = Exportable(self._method).eval(), self._inputs(batch)
        height, width = batch["image"].shape[-2:]
        content = as_onnx(trace(network, (height, width)), self._method.inputs)
        good: dict[str, Run] = {}
        differences: dict[str, float] = {}
        problems: dict[str, str] = {}
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "network.onnx")
            file.write_bytes(content)
            for engine in installed(self._device):
                try:
                    good[engine], differences[engine] = self._opened(engine, file, batch)
                except Exception as error:
                    problems[engine] = f"{named(engine)}: {_first_line(error)}"
                    log.warning("Not used: %s.", problems[engine])
            if not good or self._asked in problems:
                raise RuntimeError("; ".join(problems.values()))
            seconds = _in_turns({"torch": network, **good}, inputs)
            del good
        fastest = min(seconds, key=lambda engine: seconds[engine])
        chosen = fastest if self._asked == "auto" else self._asked
        if fastest == "torch":
            why = f"it is faster than {' and '.join(map(named, differences))}"
            cache.keep("torch", why.encode())
            if chosen == "torch":
                log.info("Embeds with PyTorch: %s.", why)
                return
        file = cache.keep(chosen if fastest == "torch" else fastest, content)
        self._run = open_network(cast(Engine, chosen), file, self._method.inputs, self._device)
        self._report(chosen, differences[chosen], f", {seconds['torch'] / seconds[chosen]:.1f} × its speed", file)

    def _opened(self, engine: Engine, file: Path, batch: Batch) -> tuple[Run, float]:
        """An engine's network, and its largest difference to PyTorch.

        Raises:
            ValueError: If that is too large.
        """
        run = open_network(engine, file, self._method.inputs, self._device)
        difference = max(self._difference(run, sample) for sample in self._samples(batch))
        if not difference <= TOLERANCE:  # NaN is not either
            raise ValueError(f"it differs from PyTorch by up to {difference:.1e}, more than {TOLERANCE:g}")
        return run, difference

    def _samples(self, batch: Batch) -> list[Batch]:
        """The images as they are, one of them alone, and by day and night where the method tells them apart."""
        count, (height, width) = len(batch["image"]), batch["image"].shape[-2:]
        others = {name: random_input(name, count, (height, width)).to(self._device) for name in self._method.inputs[1:]}
        return [batch, {name: values[:1] for name, values in batch.items()}, *([batch | others] if others else [])]

    def _difference(self, run: Run, batch: Batch) -> float:
        expected = self._method(batch).cpu()
        return (run(*self._inputs(batch)).cpu() - expected).abs().max().item()

    def _inputs(self, batch: Batch) -> list[Tensor]:
        """What the exported network takes of a batch; -1 for what the batch does not know."""
        unknown = torch.full((len(batch["image"]),), -1, device=batch["image"].device)
        return [batch.get(name, unknown) for name in self._method.inputs]

    def _report(self, engine: str, difference: float, speed: str, file: Path) -> None:
        self.engine = engine
        log.info("Embeds with %s: largest difference to PyTorch %.1e%s (%s).", named(engine), difference, speed, file)


def _some(batch: Batch) -> Batch:
    """A few images of a batch, from all over it."""
    count = len(batch["image"])
    rows = torch.linspace(0, count - 1, min(count, _SAMPLES)).round().long()
    return {name: values[rows.to(values.device)] for name, values in batch.items() if isinstance(values, Tensor)}


def _in_turns(networks: dict[str, Run], inputs: list[Tensor]) -> dict[str, float]:
    """Seconds of each network on the same inputs, the least of some rounds; the first does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(_ROUNDS + 1):
        for name, network in networks.items():
            start = time.perf_counter()
            network(*inputs).cpu()
            seconds[name].append(time.perf_counter() - start)
    return {name: min(rounds[1:]) for name, rounds in seconds.items()}


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
