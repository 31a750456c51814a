"""Better query features from their neighbours."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from src.retrieval.distances.feature_distance import FeatureDistance
from src.retrieval.exact_evaluation import block_rows
from src.retrieval.index.nearest import search


def alpha_query_expansion(query: Tensor, gallery: Tensor, n: int, alpha: float) -> Tensor:
    """Adds each query's nearest gallery features to it, weighted by their similarity to the power of α.

    Radenović et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019, Section 3.5; α = 0 is
    average query expansion (Chum et al., "Total Recall", ICCV 2007).

    Args:
        query: L2-normalised `(Q, D)`.
        gallery: L2-normalised `(G, D)`.
        n: How many neighbours.
        alpha: α; a neighbour that points away from the query counts nothing.

    Returns:
        L2-normalised `(Q, D)`.
    """
    if n < 1 or alpha < 0:
        raise ValueError(f"n is {n} and alpha {alpha}, expected at least one neighbour and an alpha of at least 0.")
    if len(gallery) == 0:
        return F.normalize(query.float())
    nearest, _ = search(query, gallery, min(n, len(gallery)), backend="torch")
    expanded = query.float().clone()
    rows = block_rows(nearest.shape[1] * query.shape[1], block_mb=64)
    for start in range(0, len(query), rows):
        part = slice(start, start + rows)
        neighbours = gallery[torch.from_numpy(nearest[part]).to(gallery.device)].float()
        similarity = (neighbours * query[part, None].float()).sum(dim=2)
        weights = (similarity > 0).float() * similarity.clamp(min=0) ** alpha
        expanded[part] += (weights[..., None] * neighbours).sum(dim=1)
    return F.normalize(expanded)


def dbscan_query_expansion(
    query: Tensor, eps: float, *, min_samples: int = 2, include_self: bool = False
) -> tuple[Tensor, NDArray[np.int64]]:
    """Replaces each query by the mean of the *other* queries in its cluster (VehicleNet, Section IV-C).

    Args:
        query: L2-normalised `(Q, D)`.
        eps: Euclidean distance within which queries are neighbours, DBSCAN's ε.
        min_samples: Neighbours, with itself, that make a query the core of a cluster.
        include_self: Take the mean over the whole cluster instead.

    Returns:
        L2-normalised `(Q, D)`, queries outside of all clusters unchanged, and the cluster of each query, −1 for none.
    """
    from sklearn.cluster import DBSCAN

    if eps <= 0:
        raise ValueError(f"eps is {eps}, expected a distance above 0.")
    features = query.float().cpu().numpy()
    clusters = DBSCAN(eps=eps, min_samples=min_samples).fit_predict(features) if len(query) else np.empty(0, np.int64)
    clusters = clusters.astype(np.int64)
    return _cluster_means(query, clusters, include_self), clusters


def group_queries(query: Tensor, theta: float) -> tuple[Tensor, NDArray[np.int64]]:
    """Gives queries closer than θ their common mean feature (attribute-guided network, group re-ranking).

    Closeness is passed on: queries that are linked by a chain of close ones are of one group.

    Args:
        query: L2-normalised `(Q, D)`.
        theta: Euclidean distance θ.

    Returns:
        L2-normalised `(Q, D)` and the group of each query.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(query)
    distance = FeatureDistance(query, query)
    links = []
    rows = block_rows(count, block_mb=64)
    for start in range(0, count, rows):
        close = distance.block(slice(start, min(start + rows, count)), slice(0, count)) < theta
        one, other = close.nonzero().cpu().numpy().T
        links.append((start + one, other))
    one, other = (np.concatenate(side) for side in zip((np.empty(0, np.int64),) * 2, *links, strict=True))
    graph = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(count, count))
    groups = connected_components(graph, directed=False)[1].astype(np.int64) if count else np.empty(0, np.int64)
    return _cluster_means(query, groups, include_self=True), groups


def _cluster_means(features: Tensor, clusters: NDArray[np.int64], include_self: bool) -> Tensor:
    """Mean feature of each row's cluster, with or without the row itself; a row in none (−1), or alone, stays."""
    labels = torch.from_numpy(clusters).to(features.device)
    clustered = (labels >= 0).nonzero()[:, 0]
    members, owner = features[clustered].float(), labels[clustered]
    n_clusters = int(owner.max()) + 1 if len(owner) else 0
    sums = torch.zeros(n_clusters, features.shape[1], device=features.device).index_add_(0, owner, members)
    sizes = torch.bincount(owner, minlength=n_clusters)
    means = sums[owner] if include_self else sums[owner] - members
    alone = sizes[owner] == 1
    means[alone] = members[alone]
    result = features.float().clone()
    result[clustered] = means
    return F.normalize(result)
