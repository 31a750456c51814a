import pytest
import torch

from src.networks.blocks.side_information import SideInformation


@pytest.mark.parametrize("counts", [(3, 4), (3,), (5, 1), (1, 0, 2)])
def test_one_embedding_for_each_combination(counts):
    side = SideInformation(counts, dim=6, weight=2.5)
    values = [torch.randint(-1, max(count, 1), (40,)) for count in counts]
    added = side(values)
    used = [(count, value) for count, value in zip(counts, values, strict=True) if count > 1]
    assert side.table.shape == (torch.tensor([count for count, _ in used]).prod(), 6)
    for image in range(40):
        expected = torch.zeros(6)
        if all(value[image] >= 0 for _, value in used):
            place = 0
            for count, value in used:
                place = place * count + int(value[image])
            expected = 2.5 * side.table[place]
        torch.testing.assert_close(added[image], expected)


def test_what_is_nowhere_known_has_no_embedding():
    side = SideInformation((0, 1), dim=6)
    assert side([torch.zeros(2, dtype=torch.long)] * 2) is None
    assert not [*side.parameters()]
