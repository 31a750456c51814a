"""Identity mining: pseudo-identities for a part of an unlabelled test set.

He et al., "Multi-Domain Learning and Identity Mining for Vehicle Re-Identification", CVPRW 2020, Section 3.3.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.retrieval.distances.feature_distance import Distance, FeatureDistance
from src.retrieval.distances.k_reciprocal import KReciprocalDistance
from src.retrieval.exact_evaluation import block_rows
from src.retrieval.relevance import Integers
from src.retrieval.track_features import average_track_features, track_numbers, weighted_track_features

MiningDistance = Literal["euclidean", "angle", "reranked"]
TrackKind = Literal["average", "weighted"]
MiningKind = Literal["identity_mining", "kmeans"]


@dataclass(frozen=True)
class Mining:
    """Options of mining identities; the values are the paper's, of L2-normalised features.

    Attributes:
        d_n: Queries farther apart than this are different vehicles.
        d_n_distance: What `d_n` is measured in: Euclidean, radians, or k-reciprocally re-ranked.
        d_p: A query or gallery image nearer than this to a chosen query shows its vehicle.
        d_p_distance: What `d_p` is measured in.
        tracks: Label the gallery's tracks by their average or weighted feature instead of its images.
        first: Place of the first chosen query; None draws it.
        k1: Of the re-ranking, see `KReciprocalDistance`.
        k2: Of the re-ranking.
        lambda_value: Of the re-ranking.
        kind: `"kmeans"` puts every image into one of so many clusters instead, which the paper compares with (Table 4).
        clusters: How many; None for as many as there are vehicles, where those are known.

    Raises:
        ValueError: If a value is none of the possible ones.
    """

    d_n: float = 0.49
    d_n_distance: MiningDistance = "euclidean"
    d_p: float = 0.23
    d_p_distance: MiningDistance = "euclidean"
    tracks: TrackKind | None = None
    first: int | None = None
    k1: int = 50
    k2: int = 15
    lambda_value: float = 0.3
    kind: MiningKind = "identity_mining"
    clusters: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in (
            ("d_n_distance", get_args(MiningDistance)),
            ("d_p_distance", get_args(MiningDistance)),
            ("tracks", (*get_args(TrackKind), None)),
            ("kind", get_args(MiningKind)),
        ):
            if (value := getattr(self, name)) not in allowed:
                shown = ", ".join("null" if one is None else one for one in allowed)
                raise ValueError(f"mine.{name} is {value!r}, expected one of {shown}.")
        for name in ("d_n", "d_p"):
            if getattr(self, name) <= 0:
                raise ValueError(f"mine.{name} is {getattr(self, name)}, expected a distance above 0.")
        if self.clusters is not None and self.clusters < 1:
            raise ValueError(f"mine.clusters is {self.clusters}, expected at least 1, or null.")


@dataclass(frozen=True)
class Mined:
    """Pseudo-identities, numbered from 0 in the order in which they were found.

    Attributes:
        representatives: Place of the chosen query of each, `(R,)`.
        labels: Pseudo-identity of each query, then of each gallery image, `(N,)`; −1 for none.
    """

    representatives: Integers
    labels: Integers


def mine_identities(
    features: Tensor, n_queries: int, options: Mining, tracks: Integers | None = None, seed: int = 0
) -> Mined:
    """Chooses queries that show different vehicles, and gives their pseudo-identity to what is near.

    Args:
        features: L2-normalised `(N, D)`, the queries' first.
        n_queries: How many are queries.
        options: Distances and thresholds.
        tracks: Track of each gallery image, −1 for none; needed if `options.tracks` is set.
        seed: Draws the first query, if `options` names none.

    Raises:
        ValueError: If there is no query, the first one is not among them, or tracks are asked for and none is known.
    """
    if n_queries == 0:
        raise ValueError("There is no query, and identities are mined around queries; choose data with a query split.")
    first = options.first
    if first is None:
        first = int(np.random.default_rng(seed).integers(n_queries))
    if not 0 <= first < n_queries:
        raise ValueError(
            f"mine.first is {first}, expected the place of one of {n_queries} queries: 0 to {n_queries - 1}."
        )
    entries, owner = features, np.arange(len(features))
    if options.tracks is not None:
        if tracks is None or (tracks < 0).all():
            raise ValueError(f"mine.tracks is {options.tracks!r}, but no track of a gallery image is known; pass null.")
        numbers = track_numbers(tracks)
        entries = torch.cat([features[:n_queries], _track_features(features, n_queries, numbers, options.tracks)])
        owner[n_queries:] = n_queries + numbers
    measure = _measures(entries, n_queries, options)
    chosen = farthest_first(measure(options.d_n_distance), options.d_n, first)
    labels = nearest_chosen(measure(options.d_p_distance), chosen, options.d_p)
    return Mined(chosen, labels[owner])


def farthest_first(distance: Distance, d_n: float, first: int, block_mb: float = 128) -> Integers:
    """Chooses queries in turn: the farthest of those that are farther than `d_n` from each chosen one, until none is.

    The farthest has the largest sum of distances to all chosen ones; the paper prints `arg min`, against its own words
    and figure. Of equals the first.

    Args:
        distance: From the queries to the queries; more columns may follow.
        d_n: See `Mining`.
        first: The first chosen query.
        block_mb: Memory for all distances between queries, in MiB; if they need more, those of one query at a time.

    Returns:
        Places of the chosen queries, `(R,)`.
    """
    count = distance.shape[0]
    chosen = [first]
    total, candidate = np.zeros(count), np.ones(count, dtype=bool)
    whole = distance.block(slice(0, count), slice(0, count)).cpu() if 4 * count**2 <= block_mb * 2**20 else None
    while True:
        newest = chosen[-1]
        row = distance.block(slice(newest, newest + 1), slice(0, count)).cpu()[0] if whole is None else whole[newest]
        to_newest = row.double().numpy()
        total += to_newest
        candidate &= to_newest > d_n
        candidate[newest] = False  # a re-ranked distance to itself need not be small
        if not candidate.any():
            return np.array(chosen, dtype=np.int64)
        chosen.append(int(np.where(candidate, total, -np.inf).argmax()))


def nearest_chosen(distance: Distance, chosen: Integers, d_p: float, block_mb: float = 128) -> Integers:
    """Chosen query that each entry is nearest to, if nearer than `d_p`; of equals the first.

    Args:
        distance: From the queries to the queries and the gallery.
        chosen: Places of the chosen queries, which get their own number whatever their distance to themselves.
        d_p: See `Mining`.
        block_mb: Memory for one block of distances, in MiB.

    Returns:
        Number of the chosen query for each entry, −1 for none, `(N,)`.
    """
    count = distance.shape[1]
    nearest = torch.full((count,), torch.inf, device=distance.device)
    number = torch.zeros(count, dtype=torch.int64, device=distance.device)
    rows = torch.from_numpy(chosen).to(distance.device)
    start = 0
    for part in rows.split(block_rows(count, block_mb)):
        values, places = distance.block(part, slice(0, count)).min(dim=0)
        number = torch.where(values < nearest, places + start, number)
        nearest = torch.minimum(nearest, values)
        start += len(part)
    labels = torch.where(nearest < d_p, number, -1).cpu().numpy()
    labels[chosen] = np.arange(len(chosen))
    return labels


def purity(labels: Integers, vehicles: Integers) -> float | None:
    """Share of the labelled images whose vehicle is the one that most images of their pseudo-identity show.

    Args:
        labels: Pseudo-identity of each image, −1 for none.
        vehicles: True vehicle of each; −1, a vehicle that nobody knows, is never right.

    Returns:
        None if no image is labelled or all vehicles are hidden.
    """
    if (vehicles < 0).all() or (labels < 0).all():
        return None
    known = (labels >= 0) & (vehicles >= 0)
    pairs, counts = np.unique(np.stack([labels[known], vehicles[known]]), axis=1, return_counts=True)
    majority = np.zeros(labels.max() + 1, dtype=np.int64)
    np.maximum.at(majority, pairs[0], counts)
    return float(majority.sum() / (labels >= 0).sum())


def kmeans_labels(features: Tensor, clusters: int, seed: int = 0) -> Integers:
    """Labels that the paper compares identity mining with: every image in one of so many k-means clusters, `(N,)`.

    Args:
        features: L2-normalised `(N, D)`.
        clusters: How many. With fewer than there are vehicles, some clusters have to mix them, whatever the features.
        seed: Draws the first centres.

    Raises:
        ValueError: If there are more clusters than images.
    """
    if clusters > len(features):
        raise ValueError(f"mine.clusters is {clusters}, but there are only {len(features)} images; pass fewer.")
    from sklearn.cluster import KMeans

    means = KMeans(clusters, n_init=1, random_state=seed)
    return np.asarray(means.fit_predict(features.cpu().numpy()), dtype=np.int64)


def _measures(entries: Tensor, n_queries: int, options: Mining) -> Callable[[MiningDistance], Distance]:
    """Distances from the queries to queries and gallery by name; re-ranking, which takes long, is done once."""

    @cache
    def measure(kind: MiningDistance) -> Distance:
        if kind != "reranked":
            return FeatureDistance(entries[:n_queries], entries, kind)
        return KReciprocalDistance(
            FeatureDistance(entries, entries),
            n_queries,
            k1=options.k1,
            k2=options.k2,
            lambda_value=options.lambda_value,
            queries_in_gallery=True,
        )

    return measure


def _track_features(features: Tensor, n_queries: int, tracks: NDArray[np.int64], kind: TrackKind) -> Tensor:
    query, gallery = features[:n_queries], features[n_queries:]
    if kind == "average":
        return average_track_features(gallery, tracks)
    return weighted_track_features(query, gallery, tracks)
