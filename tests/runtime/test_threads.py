import multiprocessing
import threading

import pytest
import torch

from src.runtime.threads import for_each, map_each


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_every_number_is_taken_once(threads):
    for count in (0, 1, 2, 50):
        taken = []
        for_each(taken.append, count)
        assert sorted(taken) == list(range(count))
        assert map_each(lambda number: number**2, count) == [number**2 for number in range(count)]


def test_torch_keeps_to_one_thread_inside_and_to_its_own_outside(threads):
    inside = set(map_each(lambda _: torch.get_num_threads(), 20))
    assert inside == {1}
    assert torch.get_num_threads() == threads
    new_thread = []
    thread = threading.Thread(target=lambda: new_thread.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert new_thread == [threads]


def test_a_loop_within_a_loop(threads):
    assert map_each(lambda a: sum(map_each(lambda b: a * b, 4)), 5) == [0, 6, 12, 18, 24]


def test_errors_reach_the_caller(threads):
    def refuse(number):
        raise ValueError(f"number {number}")

    with pytest.raises(ValueError, match="number 0"):
        for_each(refuse, 1)
    with pytest.raises(ValueError, match="number"):
        for_each(refuse, 9)


def test_forked_processes_start_their_own_threads(threads):
    for_each(lambda _: None, 4)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(map_each, (abs, 4)).get(timeout=60) == [0, 1, 2, 3]
