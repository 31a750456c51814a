"""Query features from neighbours, against plain loops."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from src.retrieval import alpha_query_expansion, dbscan_query_expansion, group_queries


def unit(*shape, seed):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).float()


def normalised(vector):
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize(("n", "alpha"), [(1, 0.0), (3, 0.0), (4, 3.0), (99, 2.0)])
def test_alpha_query_expansion(n, alpha):
    query, gallery = unit(9, 5, seed=0), unit(30, 5, seed=1)
    expected = []
    for q in query.double().numpy():
        similarity = [float(q @ g) for g in gallery.double().numpy()]
        total = q.copy()
        for g in np.argsort([-s for s in similarity])[:n]:
            if similarity[g] > 0:
                total += similarity[g] ** alpha * gallery[g].double().numpy()
        expected.append(normalised(total))
    np.testing.assert_allclose(alpha_query_expansion(query, gallery, n, alpha), expected, atol=1e-5)


def test_alpha_query_expansion_of_nothing():
    assert alpha_query_expansion(unit(0, 5, seed=0), unit(3, 5, seed=1), 2, 1.0).shape == (0, 5)
    torch.testing.assert_close(
        alpha_query_expansion(unit(2, 5, seed=0), unit(0, 5, seed=1), 2, 1.0), unit(2, 5, seed=0)
    )
    with pytest.raises(ValueError, match="n is 0"):
        alpha_query_expansion(unit(2, 5, seed=0), unit(3, 5, seed=1), 0, 1.0)


def clusters_of_queries():
    """Two clusters of 4 and 3 queries and one query far from all."""
    centres = torch.eye(5)[[0, 0, 1, 0, 1, 2, 1, 0]]
    return F.normalize(centres + 0.05 * unit(8, 5, seed=2))


@pytest.mark.parametrize("include_self", [False, True])
def test_dbscan_expansion_takes_the_mean_of_the_other_queries_of_a_cluster(include_self):
    query = clusters_of_queries()
    expanded, clusters = dbscan_query_expansion(query, 0.3, include_self=include_self)
    assert clusters.tolist() == [0, 0, 1, 0, 1, -1, 1, 0]
    for i, cluster in enumerate(clusters):
        members = [j for j in range(8) if clusters[j] == cluster and (include_self or j != i)]
        expected = normalised(query[members].double().mean(dim=0)) if cluster >= 0 else query[i]
        np.testing.assert_allclose(expanded[i], expected, atol=1e-6)
    with pytest.raises(ValueError, match="eps is 0"):
        dbscan_query_expansion(query, 0)


def test_queries_in_a_chain_are_one_group():
    angles = torch.tensor([0.0, 0.1, 0.2, 0.3, 1.0, 2.0, 2.05])
    query = torch.stack([angles.cos(), angles.sin()], dim=1)
    grouped, groups = group_queries(query, 0.11)
    assert groups.tolist() == [0, 0, 0, 0, 1, 2, 2]
    for members in ([0, 1, 2, 3], [4], [5, 6]):
        mean = normalised(query[members].double().mean(dim=0))
        np.testing.assert_allclose(grouped[members], np.tile(mean, (len(members), 1)), atol=1e-6)


def test_no_queries_are_no_groups():
    empty = torch.empty(0, 4)
    assert group_queries(empty, 0.1)[0].shape == (0, 4)
    assert dbscan_query_expansion(empty, 0.1)[0].shape == (0, 4)
