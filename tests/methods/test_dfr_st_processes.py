"""A sum over anchors under DDP: two processes take the step that one would take with both batches."""

import pytest
import torch

from src.methods.dfr_st import DFRST
from src.networks import Backbone

TWO_PROCESSES = """
import sys, torch
from functools import partial
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader
from src.methods.dfr_st import DFRST
from src.methods.optim import Optim
from tests.methods.test_dfr_st_processes import Items, made

method = made()
method.begin_stage(Optim(partial(torch.optim.SGD, lr=0.01)), (), {})
trainer = Trainer(max_steps=1, accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False,
                  enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
                  default_root_dir=sys.argv[1])
trainer.fit(method, DataLoader(Items(trainer.global_rank), batch_size=6))
if trainer.is_global_zero:
    torch.save(method.state_dict(), f"{sys.argv[1]}/after.pt")
"""


class Items(torch.utils.data.Dataset):
    """The batch of one process: six images of three vehicles."""

    def __init__(self, rank):
        self.rank = rank

    def __len__(self):
        return 6

    def __getitem__(self, place):
        random = torch.Generator().manual_seed(10 * self.rank + place)
        image = torch.randint(0, 256, (3, 64, 64), generator=random, dtype=torch.uint8)
        return {"image": image, "label": place // 2}


def made():
    torch.manual_seed(0)
    return DFRST(Backbone("resnet18"), 3, dimension=4, branches=["whole"], triplet_reduction="sum")


@pytest.mark.slow
def test_two_processes_take_the_step_of_the_sum_over_all_anchors(tmp_path, two_processes):
    two_processes(TWO_PROCESSES)
    after = torch.load(tmp_path / "after.pt")
    method = made().train()
    for rank in range(2):
        items = Items(rank)
        batch = {"image": torch.stack([items[i]["image"] for i in range(6)]), "label": torch.arange(6) // 2}
        losses = method.losses(batch)
        (losses["cross_entropy"] / 2 + losses["triplet"]).backward()  # one process: nothing is averaged
    moved = 0
    for name, weight in method.named_parameters():
        if weight.grad is not None:
            torch.testing.assert_close(after[name], weight - 0.01 * weight.grad, atol=1e-5, rtol=1e-4)
            moved += weight.grad.count_nonzero().item()
    assert moved > 1000
