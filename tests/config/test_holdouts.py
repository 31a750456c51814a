"""Held-out vehicles of a run of several stages."""

import pytest
from omegaconf import OmegaConf

from src.config.data_node import build_data, loading
from src.runtime.errors import ConfigError

SMALL = ("backbone=efficientnet_lite0", "transforms.size=32", "workers=0", "trainer=cpu")
POOL = (
    *SMALL,
    "method=vehiclenet",
    "data=pool",
    "data.sources={quickstart: {use: all}, quickstart_veri: {}}",
    "data.target=quickstart_veri",
    "stages=pool_then_target",
    "data@stages.target.data=quickstart_veri",
)
MDL = (
    *SMALL,
    "method=bot_mdl",
    "data=pool",
    "data.sources={quickstart: {use: all}, quickstart_veri: {}}",
    "data.target=quickstart_veri",
    "stages=mdl_mined",
)
PRETRAIN = (
    *(*SMALL, "method=bot", "stages=pretrain"),
    *("data=quickstart_veri", "data@stages.synthetic.data=quickstart"),
)
ALONE = "stages.target.data.holdout=0.3"


def vehicles(cfg):
    """Of each stage: the target's vehicles that are trained on, and those that are held out."""
    found = {}
    for name, stage in cfg.stages.items():
        data = build_data(stage.data, transforms=stage.transforms, sampler=stage.sampler, **loading(cfg))
        data.setup("fit")
        table = data.table[data.table["dataset"] == "quickstart_veri"]
        split = table["split"] == "train"
        found[name] = (set(table["vehicle_id"][split]), set(table["vehicle_id"][~split]), len(data.table))
    return found


@pytest.mark.parametrize(
    "overrides",
    [
        (*POOL, "data.holdout=0.3"),
        (*POOL, ALONE),
        (*POOL, "+data.sources.quickstart_veri.holdout=0.3"),
        (*POOL, "data.holdout=0.3", ALONE),
        (*MDL, "data.holdout=0.3"),
        (*MDL, "+data.sources.quickstart_veri.holdout=0.3"),
        (*PRETRAIN, "data.holdout=0.3"),
    ],
)
def test_the_targets_held_out_vehicles_are_in_no_stage(checked, overrides):
    cfg = checked(*overrides)
    found = vehicles(cfg)
    *_, last = found
    trained, held, _ = found[last]
    assert len(held) == 18  # of 60
    assert not trained & held
    for name, (trained, here, rows) in found.items():
        assert not trained & held, name
        assert here in (held, set())
        assert rows > 0


@pytest.mark.parametrize("overrides", [(*POOL, "data.holdout=0.3"), (*POOL, ALONE), (*PRETRAIN, "data.holdout=0.3")])
def test_another_seed_holds_out_other_vehicles_in_all_stages(checked, overrides):
    key = "stages.target.data.holdout_seed" if ALONE in overrides else "data.holdout_seed"
    *_, (_, held, _) = vehicles(checked(*overrides)).values()
    found = vehicles(checked(*overrides, f"{key}=1"))
    *_, (_, others, _) = found.values()
    assert len(others) == len(held)
    assert others != held
    for trained, _, _ in found.values():
        assert not trained & others


@pytest.mark.parametrize("overrides", [POOL, MDL, PRETRAIN])
def test_the_targets_vehicles_put_aside_are_trained_on_in_no_stage(checked, overrides):
    found = vehicles(checked(*overrides, "data.calibration=0.2", "data.holdout=0.3"))
    *_, (trained, others, _) = found.values()
    assert len(others) == 18 + 8  # of 60, and of the 42 that are left
    assert len(trained) == 34
    for seen, _, _ in found.values():
        assert not seen & others


def test_shares_to_put_aside_must_agree(checked):
    with pytest.raises(ConfigError, match=r"A run calibrates on the same vehicles in all its stages, but data\.calib"):
        checked(*POOL, "data.calibration=0.2", "stages.target.data.calibration=0.1")


def test_vehicles_of_other_sources_are_not_held_out(checked):
    cfg = checked(*POOL, "data.holdout=0.3")
    stage = cfg.stages.pool
    data = build_data(stage.data, transforms=stage.transforms, sampler=stage.sampler, **loading(cfg))
    data.setup("fit")
    assert set(data.table["dataset"][data.table["split"] == "test"]) == {"quickstart_veri"}


def test_a_single_set_is_held_out_as_before(checked):
    cfg = checked(*SMALL, "method=bot", "data=quickstart_veri", "data.holdout=0.3")
    assert OmegaConf.select(cfg, "stages.main.data.holdout") == 0.3
    ((trained, held, _),) = vehicles(cfg).values()
    assert (len(trained), len(held)) == (42, 18)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            (*POOL, "data.holdout=0.3", "stages.target.data.holdout=0.2"),
            "the same vehicles in all its stages, but data.holdout=0.3 data.holdout_seed=0, ",
        ),
        (
            (*POOL, "data.holdout=0.3", ALONE, "data.holdout_seed=1"),
            "holdout_seed=1, stages.target.data.holdout=0.3 stages.target.data.holdout_seed=0; give one",
        ),
        (
            (*POOL, "+data.sources.quickstart.holdout=0.3"),
            "data.sources.quickstart.holdout=0.3, but the run is tested on q",
        ),
        (
            (*POOL, "data.holdout=0.3", "+data.sources.quickstart_veri.first_ids=20"),
            "in another way than stages.target",
        ),
        (
            (*SMALL, "method=bot", "data=pool", "data.sources={quickstart: {}}", "data.holdout=0.3"),
            "has no target, so there are no vehicles to hold out of it",
        ),
        (
            (*SMALL, "method=bot", "data=quickstart", "data.holdout=1.5"),
            "data.holdout is 1.5, expected a number from 0",
        ),
    ],
)
def test_what_would_leak_is_refused(checked, overrides, said):
    with pytest.raises(ConfigError) as error:
        checked(*overrides)
    assert said in str(error.value)
