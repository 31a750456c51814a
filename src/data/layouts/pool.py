"""Several data sets as one."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import pandas as pd

from src.data.layouts.extra import add_extra
from src.data.layouts.names import common_name
from src.data.table import DataError, known

if TYPE_CHECKING:
    from src.data.layouts import Layout

Role = Literal["real", "synthetic", "mined"]
Use = Literal["train", "all"]
#: Data sets that share images under other names, so that no comparison of files could tell.
_SHARING = (("dn_wild", "veri_wild2", "DN-Wild's images come from VERI-Wild 2.0's test sets"),)


@dataclass(frozen=True)
class Source:
    """A data set in a pool.

    Attributes:
        layout: Its parser.
        role: Whether its images are real; said with the counts. `"mined"` are test images of the target with
            pseudo-identities, see `src.mine`.
        first_ids: Train only on the vehicles with the lowest numbers, so many; None takes all.
        use: `"all"` trains on its test images too, where their vehicles are known. Never on the target's.
        extra: Side data, see `add_extra`.
    """

    layout: "Layout"
    role: Role = "real"
    first_ids: int | None = None
    use: Use = "train"
    extra: Path | str | None = None


@dataclass(frozen=True)
class Pool:
    """Several data sets to train on, and the test split of one of them.

    Vehicles stay apart by (data set, vehicle id); column `dataset` is the source's name here. Colours and types get one
    spelling. An image of the target's test split may come from no other source, unless it is mined.

    VehicleNet (Zheng et al., TMM 2021) and the first stage of multi-domain learning (He et al., CVPRW 2020) are pools.

    Attributes:
        name: Name of the pool.
        sources: Name → what `Source` has, as a mapping; other keys are ignored.
        target: The source whose test split gives the tasks; None for training only.

    Raises:
        DataError: If there are no sources, the target is not among them, or a source's role, use or first_ids is wrong.
    """

    name: str
    sources: Mapping[str, Mapping[str, Any]] | None
    target: str | None = None
    provides: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        if not self.sources:
            raise DataError(
                f"Data set {self.name!r} has no sources, expected at least one: pass "
                "'data.sources={veri776: {}, vehicleid: {use: all}}' data.target=veri776."
            )
        if self.target is not None and self.target not in self.sources:
            raise DataError(f"data.target is {self.target!r}, expected one of {', '.join(self.sources)}, or null.")
        for name, source in self._sources().items():
            for key, allowed in (("role", get_args(Role)), ("use", get_args(Use))):
                if (value := getattr(source, key)) not in allowed:
                    raise DataError(f"data.sources.{name}.{key} is {value!r}, expected {' or '.join(allowed)}.")
            if source.first_ids is not None and source.first_ids < 1:
                raise DataError(f"data.sources.{name}.first_ids is {source.first_ids}, expected 1 or more, or null.")
        for one, other, reason in _SHARING:
            if {one, other} <= self.sources.keys():
                raise DataError(f"{one} and {other} cannot be pooled: {reason}; remove one from data.sources.")

    def read(self) -> pd.DataFrame:
        """Reads every source.

        Returns:
            The record table: the sources in their order, each in its own.

        Raises:
            DataError: If a source cannot be read, adds nothing, or has images of the target's test split.
        """
        parts = []
        for name, source in self._sources().items():
            table = source.layout.read()
            if source.extra is not None:
                table = add_extra(table, source.extra, name)
            parts.append(self._chosen(name, source, table.assign(dataset=name)))
        pooled = pd.concat(parts, ignore_index=True)
        self._refuse_test_images(pooled)
        for column in ("colour", "type"):
            pooled[column] = pooled[column].map(common_name)
        return pooled

    def counts(self, table: pd.DataFrame) -> str:
        """Counts of each source's training images, in words.

        Args:
            table: What `read` returned.
        """
        train = table[table["split"] == "train"]
        counts = []
        for name, source in self._sources().items():
            ids = train.loc[train["dataset"] == name, "vehicle_id"]
            counts.append(f"{name}: {len(ids):,} {source.role} images of {ids.nunique():,} vehicles")
        return "; ".join(counts)

    def camera_distances(self) -> pd.DataFrame | None:
        """Road distances between the target's cameras, the only ones that are tested; None if it has none."""
        layout = self._sources()[self.target].layout if self.target is not None else None
        read = getattr(layout, "camera_distances", None)
        return read() if read is not None else None

    def _sources(self) -> dict[str, Source]:
        keys = [field.name for field in fields(Source)]
        return {
            name: Source(**{key: source[key] for key in keys if key in source})
            for name, source in (self.sources or {}).items()
        }

    def _chosen(self, name: str, source: Source, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of a source that are trained on, and the target's test rows."""
        if name != self.target:
            if source.use == "all":
                table = once(table[known(table, "vehicle_id")]).assign(split="train")
            table = table[table["split"] == "train"]
            if table.empty:
                raise DataError(
                    f"The source {name!r} of data set {self.name!r} has no images to train on; pass "
                    f"data.sources.{name}.use=all or remove it."
                )
        train = table["split"] == "train"
        ids = sorted(table.loc[train, "vehicle_id"].unique())[: source.first_ids]
        return table[~train | table["vehicle_id"].isin(ids)]

    def _refuse_test_images(self, pooled: pd.DataFrame) -> None:
        of_target = pooled["dataset"] == self.target
        tested = set(_files(pooled[of_target & (pooled["split"] != "train")]))
        if not tested:
            return
        # A mined image has its identity from a model and not from the test labels.
        mined = [name for name, source in self._sources().items() if source.role == "mined"]
        others = pooled[~of_target & ~pooled["dataset"].isin(mined)]
        shared = others[[file in tested for file in _files(others)]]
        if not shared.empty:
            first = shared.iloc[0]
            raise DataError(
                f"The source {first['dataset']!r} of data set {self.name!r} trains on {len(shared)} images of the test "
                f"split of the target {self.target!r}, {first['path']} among them; remove that source, or pass "
                f"data.sources.{first['dataset']}.use=train if it is the same data set."
            )


def once(table: pd.DataFrame) -> pd.DataFrame:
    """Each image (or box) once: VeRi-776 has its queries in the gallery's folder too, under the same name."""
    name = table["path"].str.rpartition("/")[2].where(table["timestamp"].notna(), table["path"])
    return table[~table.assign(name=name).duplicated(["name", "vehicle_id", "camera_id", "timestamp", "box"])]


def _files(table: pd.DataFrame) -> list[str]:
    """True place of each image; links to folders are followed, links to single images are not looked for."""
    real = cache(os.path.realpath)
    files = []
    for root, path in zip(table["root"], table["path"], strict=True):
        folder, _, name = path.rpartition("/")
        files.append(f"{real(f'{root}/{folder}')}/{name}")
    return files
