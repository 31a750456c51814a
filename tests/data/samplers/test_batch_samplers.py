import itertools
import logging
from collections import Counter

import pandas as pd
import pytest

from src.data.samplers.batch_samplers import ClassBalancedSampler, DayNightSampler, Draw, IdentitySampler, PlainSampler
from src.data.table import DataError

UNEVEN = {1: (5, 2), 2: (1, 9), 3: (4, 4), 4: (6, 0), 5: (3, 3), 6: (2, 1), 8: (7, 7)}
MAKERS = {
    "plain": lambda table, **options: PlainSampler(table, batch_size=7, **options),
    "balanced": lambda table, **options: ClassBalancedSampler(table, batch_size=7, **options),
    "identity": lambda table, **options: IdentitySampler(table, ids=3, images=4, **options),
    "day_night": lambda table, **options: DayNightSampler(table, ids=2, day=2, night=3, **options),
}


def rows(batches) -> list[list[int]]:
    return [[draw.row for draw in batch] for batch in batches]


@pytest.mark.parametrize("name", MAKERS)
def test_an_epoch_is_a_function_of_seed_and_epoch(day_night_table, name):
    table = day_night_table(UNEVEN)
    one, same, other = (MAKERS[name](table, seed=seed) for seed in (3, 3, 4))
    for epoch in (0, 1):
        one.set_epoch(epoch)
        same.set_epoch(epoch)
        assert list(one) == list(same) == list(one)
        assert len(list(one)) == len(one) >= 2
        assert {draw.epoch for batch in one for draw in batch} == {epoch}
    assert rows(one) != rows(other)
    epochs = set()
    for epoch in range(5):
        one.set_epoch(epoch)
        epochs.add(str(rows(one)))
    assert len(epochs) == 5


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("name", MAKERS)
def test_processes_share_one_list_of_batches_evenly(day_night_table, name, world_size):
    table = day_night_table(UNEVEN)
    single = MAKERS[name](table)
    shares = [MAKERS[name](table, rank=rank, world_size=world_size) for rank in range(world_size)]
    for epoch in (0, 7):
        for sampler in (single, *shares):
            sampler.set_epoch(epoch)
        lists = [list(share) for share in shares]
        assert {len(batches) for batches in lists} == {len(share) for share in shares} == {len(single) // world_size}
        together = list(itertools.chain.from_iterable(zip(*lists, strict=True)))
        assert together == list(single)[: len(together)]
        numbers = [draw.number for batch in together for draw in batch]
        assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("name", MAKERS)
def test_a_stopped_epoch_goes_on_behind_its_trained_batches(day_night_table, name):
    table = day_night_table(UNEVEN)
    for rank in range(2):
        whole, resumed = (MAKERS[name](table, rank=rank, world_size=2) for _ in range(2))
        resumed.trained = (1, 1)
        for epoch, trained in ((1, 1), (2, 0)):
            whole.set_epoch(epoch)
            resumed.set_epoch(epoch)
            assert list(resumed) == list(resumed) == list(whole)[trained:]  # a loader may ask twice
            assert len(resumed) == len(whole)


def test_more_processes_than_batches_is_an_error(day_night_table):
    with pytest.raises(DataError, match="fill 2 batches of 3, expected one for each of 4 processes"):
        PlainSampler(day_night_table({1: (4, 3)}), batch_size=3, world_size=4)
    with pytest.raises(DataError, match="fill 0 batches of 8, expected one for each of 1 processes"):
        PlainSampler(day_night_table({1: (4, 3)}), batch_size=8)


def test_rows_are_those_of_the_whole_table(day_night_table):
    table = day_night_table(UNEVEN)
    part = table[table["vehicle_id"].isin([3, 5, 8])]
    for make in MAKERS.values():
        drawn = set(itertools.chain.from_iterable(rows(make(part))))
        assert drawn <= set(part.index)


def test_plain_takes_every_image_once_but_for_the_last_unfinished_batch(day_night_table):
    table = day_night_table(UNEVEN)
    drawn = list(itertools.chain.from_iterable(rows(PlainSampler(table, batch_size=5))))
    assert len(drawn) == len(set(drawn)) == len(table) // 5 * 5


def test_identity_batches_are_p_identities_with_k_images(day_night_table):
    table = day_night_table(UNEVEN)
    vehicle = table["vehicle_id"].to_numpy()
    counts = {v: day + night for v, (day, night) in UNEVEN.items()}
    chunks = {v: -(-n // 4) for v, n in counts.items()}
    sampler = IdentitySampler(table, ids=3, images=4)
    assert len(sampler) == sum(chunks.values()) // 3
    drawn = Counter()
    for batch in rows(sampler):
        ids = Counter(vehicle[batch].tolist())
        assert len(ids) == 3
        assert set(ids.values()) == {4}
        for identity in ids:
            images = [row for row in batch if vehicle[row] == identity]
            assert len(set(images)) == min(4, counts[identity])
        drawn.update(batch)
    # 17 or 18 of the chunks fill batches, so nearly all images are seen, and none often.
    assert len(drawn) >= len(table) - 4 * (sum(chunks.values()) % 3)
    assert max(drawn.values()) <= 2


def test_day_night_batches_have_both_domains_of_each_identity(day_night_table, caplog):
    table = day_night_table(UNEVEN)
    vehicle, domain = table["vehicle_id"].to_numpy(), table["domain"].to_numpy()
    with caplog.at_level(logging.INFO):
        sampler = DayNightSampler(table, ids=2, day=2, night=3)
    assert sampler.left_out == 1
    assert "1 identities are seen only by day or only by night" in caplog.text
    chunks = {v: max(-(-day // 2), -(-night // 3)) for v, (day, night) in UNEVEN.items() if day and night}
    assert len(sampler) == sum(chunks.values()) // 2
    drawn = Counter()
    for batch in rows(sampler):
        ids = sorted(set(vehicle[batch]))
        assert len(ids) == 2
        for identity in ids:
            for name, size, count in zip(("day", "night"), (2, 3), UNEVEN[identity], strict=True):
                images = [row for row in batch if vehicle[row] == identity and domain[row] == name]
                assert len(images) == size
                assert len(set(images)) == min(size, count)
        drawn.update(batch)
    seen = {row for row in range(len(table)) if vehicle[row] != 4}
    unused = sum(chunks.values()) % 2
    assert len(seen - set(drawn)) <= 5 * unused
    assert set(drawn) <= seen


def test_equal_numbers_in_different_data_sets_are_different_identities(day_night_table):
    one, other = day_night_table({1: (4, 4)}, "one"), day_night_table({1: (4, 4)}, "other")
    other.index += len(one)
    table = pd.concat([one, other])
    (batch,) = rows(DayNightSampler(table, ids=2, day=4, night=4))
    assert sorted(batch) == list(range(16))


def test_too_few_identities_are_counted(day_night_table):
    table = day_night_table(UNEVEN)
    with pytest.raises(DataError, match=r"takes 9 identities, but the training set has 7; pass sampler\.ids=7"):
        IdentitySampler(table, ids=9, images=4)
    with pytest.raises(
        DataError, match=r"the training set has 6 \(and 1 seen in one of them only\); pass sampler\.ids=6"
    ):
        DayNightSampler(table, ids=7, day=4, night=4)


def test_lightning_reaches_set_epoch(day_night_table):
    from lightning.fabric.utilities.data import _set_sampler_epoch
    from torch.utils.data import DataLoader

    sampler = PlainSampler(day_night_table(UNEVEN), batch_size=4)
    _set_sampler_epoch(DataLoader([0], batch_sampler=sampler), 5)
    assert sampler.epoch == 5
    first, second = next(iter(sampler))[:2]
    assert (first, second) == (Draw(first.row, 5, 0), Draw(second.row, 5, 1))


@pytest.mark.parametrize("name", MAKERS)
def test_repeated_batches_are_those_of_the_first_epoch(day_night_table, name):
    sampler = MAKERS[name](day_night_table(UNEVEN))
    first = list(sampler)
    sampler.repeat = True
    sampler.set_epoch(3)
    assert list(sampler) == first
    sampler.repeat = False
    assert list(sampler) != first


def test_balanced_batches_draw_every_identity_as_often(day_night_table):
    table = day_night_table({1: (60, 0), 2: (1, 1), 3: (0, 10)})
    sampler = ClassBalancedSampler(table, batch_size=8)
    assert len(sampler) == len(table) // 8
    drawn = Counter()
    for epoch in range(60):
        sampler.set_epoch(epoch)
        drawn.update(row for batch in rows(sampler) for row in batch)
    total = sum(drawn.values())
    ids = table["vehicle_id"]
    for identity in (1, 2, 3):
        own = sum(count for row, count in drawn.items() if ids[row] == identity)
        assert own / total == pytest.approx(1 / 3, abs=0.03)
    assert set(drawn) == set(table.index)
