import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from src.config.checks import check_config
from src.config.data_node import build_data, loading
from src.data import ReIDDataModule
from src.runtime.errors import ConfigError


def test_the_data_module_is_what_the_node_says(composed, quickstart):
    cfg = composed("method=bot", "data=quickstart", "data.holdout=0.5", "seed=3", "eval_batch_size=7", "workers=0")
    data = build_data(cfg.data, transforms=cfg.transforms, sampler=cfg.sampler, needs=["domain"], **loading(cfg))
    assert type(data) is ReIDDataModule
    assert (data.name, data.layout.root, data.holdout, data.seed) == ("quickstart", str(quickstart), 0.5, 3)
    assert data.transforms == instantiate(cfg.transforms, _convert_="all")
    data.setup()
    assert [task.name for task in data.tasks] == ["day_to_night", "night_to_day"]
    assert len(next(iter(data.val_dataloader()[0]))["row"]) == 7
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].dtype == torch.uint8


def test_a_node_from_before_nodes_named_their_class_is_still_one(composed):
    cfg = composed("method=bot", "data=quickstart", "workers=0")
    node = OmegaConf.to_container(cfg.data, resolve=True)
    for added in ("_target_", "trials", "trial_seed"):
        del node[added]
    nodes = (OmegaConf.create(node), cfg.data)
    old, new = (build_data(node, transforms=cfg.transforms, **loading(cfg)) for node in nodes)
    old.setup()
    new.setup()
    assert (old.fingerprint, old.evaluation) == (new.fingerprint, new.evaluation)


def test_keys_are_those_of_the_data_module_and_of_the_data_set(composed):
    for wrong, message in (
        ({"holduot": 0.1}, r"Unknown key 'data\.holduot'.*did you mean 'holdout'"),
        ({"workers": 3}, r"Unknown key 'data\.workers'"),  # which the run says
        ({"sources": {}}, "Unknown key"),
    ):
        cfg = composed("method=bot", "data=quickstart")
        OmegaConf.set_struct(cfg, False)
        cfg.data.update(wrong)
        with pytest.raises(ConfigError, match=message):
            check_config(cfg)


def test_side_data_of_a_pool_are_its_sources(composed):
    cfg = composed("method=bot", "data=pool", "data.sources={quickstart: {}}", "data.extra=colours.csv")
    with pytest.raises(ConfigError, match=r"data\.sources\.<name>\.extra"):
        check_config(cfg)
