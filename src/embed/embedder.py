"""A checkpoint as a function from images to embeddings."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from src.checkpoints.calibration_entry import calibration_of, require_calibration
from src.checkpoints.engines import named
from src.checkpoints.restore import restore_for_embedding, saved_transforms
from src.config.schema import EngineChoice
from src.data import read_image
from src.data.table import DOMAINS
from src.embed.hub import checkpoint_file
from src.embed.image_input import Image, listed_images, pixels_in_memory
from src.embed.network import Network
from src.methods.tta import Batch

Precision = Literal["32-true", "16-mixed", "bf16-mixed"]

_AUTOCAST = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


class Embedder:
    """Embeds images as the checkpoint's own test does: its transforms, its normalisation, its views.

    Three lines are enough::

        from src.embed import Embedder

        embed = Embedder("outputs/bot_veri776/2026-11-21_10-00-00/stages/main/last.ckpt")
        similarity = embed("query.jpg") @ embed("gallery/").T  # cosine, as embeddings have length 1

    The classifier is dropped, so the number of training identities does not matter.

    Args:
        checkpoint: A file of `src.train`, or a published one by its name on the hub; see `checkpoint_file`.
        device: `"auto"` (a GPU if torch sees one), `"cpu"`, `"cuda"`, `"cuda:1"`, …
        precision: `"32-true"`, `"16-mixed"` or `"bf16-mixed"`, as the trainer has it.
        engine: What computes: `"torch"`, `"openvino"` or `"onnxruntime"`, or `"auto"` for the fastest of those that are
            installed and compute what PyTorch does; see `src.embed.network.Network`.
        batch_size: Images that go through the network together.
        workers: Threads that read and resize images; None takes one a core, at most eight.
        options: Other values for some of the options that the method has at test, `{"awareness_at_test": "mean"}`.

    Attributes:
        checkpoint: The file.
        method: The method, ready to embed.
        transforms: How images are transformed.
        device: Where the network is.
        precision: What it computes in.
        calibration: What similarities say; None for a checkpoint without.
        coming: Images that are to come in several calls, if that is known: an engine that has to be made ready first
            may not be worth it for one of them.

    Raises:
        ConfigError: If the file is missing or no checkpoint of this project, or the engine is not installed.
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        device: str | torch.device = "auto",
        precision: Precision = "32-true",
        engine: EngineChoice = "auto",
        batch_size: int = 64,
        workers: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if precision not in get_args(Precision):
            raise ValueError(f"precision is {precision!r}, expected one of {', '.join(get_args(Precision))}.")
        workers = min(8, os.cpu_count() or 1) if workers is None else workers
        for name, value in (("batch_size", batch_size), ("workers", workers)):
            if value < 1:
                raise ValueError(f"{name} is {value}, expected at least 1.")
        self.checkpoint = checkpoint_file(checkpoint)
        self.device = _device(device)
        self.precision = precision
        self.method = restore_for_embedding(self.checkpoint, options).to(self.device)
        self.calibration = calibration_of(self.method.provenance)
        self.transforms = saved_transforms(self.method)
        self.coming = 0
        self._network = Network(self.method, self.checkpoint, engine, self.device, precision)
        self._pipeline = self.transforms.evaluation()
        self._batch_size = batch_size
        self._workers = workers

    @property
    def needs_domain(self) -> bool:
        """Whether the method must know which images are of the night."""
        return "domain" in self.method.inputs

    @property
    def engine(self) -> str:
        """What has computed the last embeddings, with its version: `"torch"`, `"openvino 2026.4.1"`."""
        return named(self._network.engine)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that images are resized to."""
        return self.transforms.height_and_width

    def __call__(
        self,
        images: Image | Sequence[Image],
        domain: str | Sequence[str] | None = None,
        boxes: Sequence[str] | None = None,
    ) -> NDArray[np.float32]:
        """Embeds images.

        Args:
            images: One or several: paths, files in memory as `bytes`, PIL images, or arrays `(H, W, 3)` uint8 RGB. A
                folder stands for all images in and below it, in the order of `image_files`.
            domain: `"day"` or `"night"`, for all images or for each; some methods cannot do without.
            boxes: Part of each image to look at, `"x1 y1 x2 y2"` in 0-based pixels, right and bottom exclusive, or ""
                for all of it; only of paths.

        Returns:
            L2-normalised embeddings `(N, D)`, float32.

        Raises:
            DataError: If a file is missing, damaged or cut off; names its path.
            ValueError: If there is no image, one is none of these, an array has another shape or type, the domain is
                missing where the method needs it, or there are not as many domains or boxes as images.
        """
        return np.concatenate([*self.batches(images, domain, boxes)])

    def probability(
        self,
        images: Image | Sequence[Image],
        others: Image | Sequence[Image],
        domain: str | Sequence[str] | None = None,
        other_domain: str | Sequence[str] | None = None,
        prior: float = 0.5,
    ) -> NDArray[np.float64]:
        """Probabilities that each of some images shows the vehicle of each of others.

        Args:
            images: See `__call__`.
            others: Likewise.
            domain: Of the images; see `__call__`. Where it is known, pairs of day and night are judged as such.
            other_domain: Of the others.
            prior: Share of right pairs among those that are asked about; even odds by default. To find one vehicle
                among a hundred it is 0.01.

        Returns:
            `(N, M)`, above 0 and below 1.

        Raises:
            ConfigError: If the checkpoint has no calibration.
            DataError: See `__call__`.
            ValueError: See `__call__`; also if the prior is not above 0 and below 1.
        """
        calibration = require_calibration(self.calibration, self.checkpoint)
        scores = self(images, domain) @ self(others, other_domain).T
        one, other = (np.asarray(known, dtype=object) for known in (domain, other_domain))
        return calibration.probability(scores, prior, one.reshape(-1, 1), other.reshape(1, -1))

    def batches(
        self,
        images: Image | Sequence[Image],
        domain: str | Sequence[str] | None = None,
        boxes: Sequence[str] | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        """The same in batches, for more images than fit in one array or to show progress.

        Args:
            images: See `__call__`.
            domain: See `__call__`.
            boxes: See `__call__`.

        Yields:
            Embeddings `(B, D)` of `batch_size` images, fewer at the end.

        Raises:
            DataError: See `__call__`.
            ValueError: See `__call__`.
        """
        listed = listed_images(images)
        domains = [domain or ""] * len(listed) if domain is None or isinstance(domain, str) else list(domain)
        cuts = [""] * len(listed) if boxes is None else list(boxes)
        if not len(listed) == len(domains) == len(cuts):
            raise ValueError(
                f"There are {len(listed)} images, {len(domains)} domains and {len(cuts)} boxes, expected as many each."
            )
        if unknown := sorted(set(domains) - {"", *DOMAINS}):
            raise ValueError(f"domain is {unknown[0]!r}, expected {' or '.join(DOMAINS)}.")
        if self.needs_domain and "" in domains:
            raise ValueError(
                f"{type(self.method).__name__} must know which images are of the night; pass domain='day' or "
                "domain='night', or one for each image."
            )
        for batch in self._batches(list(zip(range(len(listed)), listed, cuts, domains, strict=True))):
            self._network.prepare(batch, max(len(listed), self.coming))
            with torch.inference_mode(), self._autocast():
                embeddings = self._network(batch)
            yield embeddings.cpu().numpy()

    def _batches(self, jobs: list[tuple[int, Image, str, str]]) -> Iterator[Batch]:
        """Batches on the device; while one is embedded, the next is read."""
        starts = range(0, len(jobs), self._batch_size)
        chunks = [jobs[start : start + self._batch_size] for start in starts]
        with ThreadPoolExecutor(self._workers) as pool:
            upcoming: list[Future[Batch]] = [pool.submit(self._item, *job) for job in chunks[0]]
            for chunk in [*chunks[1:], []]:
                current, upcoming = upcoming, [pool.submit(self._item, *job) for job in chunk]
                items = [item.result() for item in current]
                yield {name: torch.stack([item[name] for item in items]).to(self.device) for name in items[0]}

    def _item(self, place: int, image: Image, box: str, domain: str) -> Batch:
        if isinstance(image, str | Path):
            pixels = read_image(Path(image).expanduser(), box)
        elif box:
            raise ValueError(f"Image {place} is in memory and has a box {box!r}; cut it out beforehand.")
        else:
            pixels = pixels_in_memory(place, image)
        seen = self._pipeline(pixels, night=domain == "night")
        item = {"image": torch.from_numpy(np.ascontiguousarray(seen.image.transpose(2, 0, 1)))}
        if seen.glare is not None:
            item["glare"] = torch.from_numpy(np.ascontiguousarray(seen.glare))[None]
        return item | {"domain": torch.tensor(DOMAINS.index(domain) if domain else -1)}

    def _autocast(self) -> AbstractContextManager[None]:
        dtype = _AUTOCAST.get(self.precision)
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype=dtype)


def _device(device: str | torch.device) -> torch.device:
    chosen = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {device!r}, but torch sees no GPU on this machine; pass device='cpu'.")
    return chosen
