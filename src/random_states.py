"""The random numbers of a training, so that a stopped one goes on with the same."""

import torch
from torch import Tensor, distributed


def random_states() -> list[dict[str, Tensor]]:
    """The states of torch's random generators, one mapping a process; all processes must call it together."""
    own = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        own["cuda"] = torch.cuda.get_rng_state()
    if not distributed.is_initialized():
        return [own]
    everyone: list[dict[str, Tensor]] = [{} for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(everyone, own)
    return everyone


def set_random_state(states: list[dict[str, Tensor]]) -> None:
    """Sets what `random_states` returned; a process that there was none of keeps its own."""
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    if rank < len(states):
        torch.set_rng_state(states[rank]["cpu"].cpu())
        if "cuda" in states[rank] and torch.cuda.is_available():
            torch.cuda.set_rng_state(states[rank]["cuda"].cpu())
