from itertools import product
from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from src.config.checks import check_config
from src.config.pools import complete_pools
from src.runtime.command import CONF_DIR
from src.runtime.errors import ConfigError


def choices(group: str) -> list[str]:
    names = sorted(path.stem for path in (Path(CONF_DIR) / group).glob("*.yaml"))
    return [name for name in names if (group, name) != ("data", "default")]  # which others build on


NEEDS = {
    "dndm": "domain",
    "dndm_released": "domain",
    "camera_classifier": "camera_id",
    "attribute_guided": "colour",
    "attribute_classifier": "colour",
}
HAVE = {
    "domain": {"quickstart", "dn_348", "dn_wild", "csv"},
    "camera_id": {
        *("veri776", "quickstart_veri", "veri_wild", "veri_wild2", "vehiclex", "vehiclenet", "csv"),
        *("cityflow", "cityflow_holdout", "cityflow_vehiclenet", "cityflow_vehiclex"),
    },
    "colour": {
        *("veri776", "quickstart_veri", "vehicleid", "veri_wild", "veri_wild2", "vehiclex", "csv"),
        *("vehiclenet", "cityflow_vehiclex"),
    },
}


@pytest.mark.parametrize(("method", "data"), list(product(choices("method"), choices("data"))))
def test_every_method_composes_with_every_data_set_or_says_why_not(composed, method, data):
    cfg = composed(f"method={method}", f"data={data}")
    complete_pools(cfg)
    need = NEEDS.get(method)
    if need is not None and data not in HAVE[need]:
        with pytest.raises(ConfigError, match=f"{need}.* and {cfg.data.name}"):
            check_config(cfg)
    else:
        check_config(cfg)


@pytest.mark.parametrize(("method", "trainer"), list(product(choices("method"), choices("trainer"))))
def test_every_method_composes_with_every_trainer(composed, method, trainer):
    check_config(composed(f"method={method}", "data=csv", f"trainer={trainer}"))


@pytest.mark.parametrize("backbone", choices("backbone"))
def test_vehiclenet_alone_leaves_every_backbone_its_last_stride(composed, backbone):
    others, own = (composed(f"method={method}", f"backbone={backbone}") for method in ("bot", "vehiclenet"))
    assert own.backbone == {**others.backbone, "last_stride": None}
    assert others.backbone.last_stride in (1, 2)


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_every_experiment_composes_and_resolves(composed, experiment):
    cfg = composed(f"experiment={experiment}")
    complete_pools(cfg)
    check_config(cfg)
    assert next(iter(OmegaConf.to_container(cfg, resolve=True)["stages"].values()))["epochs"] == cfg.epochs


@pytest.mark.parametrize(
    "group",
    ["sweep", "debug", "backbone", "optim", "logger", "retrieval", "callbacks", "paths", "stages", "transforms"],
)
def test_every_choice_of_every_other_group_composes(composed, group):
    for choice in choices(group):
        cfg = composed("method=bot", "data=cityflow_vehiclex", f"{group}={choice}")  # some stages need a pool
        complete_pools(cfg)
        check_config(cfg)


def test_unknown_key_on_the_command_line_is_refused(composed):
    with pytest.raises(ConfigCompositionException, match=r"method\.alhpa"):
        composed("method.alhpa=0.3")


@pytest.mark.parametrize(
    ("override", "key", "hint"),
    [
        ("+method.alhpa=0.3", "method.alhpa", "'alpha'"),
        ("+epoch=3", "epoch", "'epochs'"),
        ("+data.layout.rot=x", "data.layout.rot", "'root'"),
        ("+stages.main.epoch=3", "stages.main.epoch", "'epochs'"),
        ("+optim.schedule.warmup=3", "optim.schedule.warmup", "'warmup_from'"),
    ],
)
def test_unknown_key_in_a_file_is_refused_with_the_nearest_name(composed, override, key, hint):
    with pytest.raises(ConfigError) as error:
        check_config(composed(override))
    assert repr(key) in str(error.value)
    assert hint in str(error.value)


def test_public_names_of_the_sweeps(composed):
    cfg = composed("method=dndm", "method.alpha=0.2", "method.beta=0.1")
    assert (cfg.method.alpha, cfg.method.beta) == (0.2, 0.1)


POOL = ("method=bot", "data=pool")


@pytest.mark.parametrize("experiment", ["real_two_cameras_pool", "real_two_cameras_two_stages"])
def test_an_experiment_of_a_pool_says_why_it_takes_no_single_data_set(composed, experiment):
    for data in choices("data"):
        cfg = composed(f"experiment={experiment}", f"data={data}")
        if "root" not in cfg.data:  # a pool
            continue
        with pytest.raises(ConfigError, match=r"Unknown key 'data\.root': .* is a pool, .*; pass data=pool, or"):
            check_config(cfg)


def test_a_pools_sources_are_completed_from_the_files_they_are_named_after(composed):
    said = "{quickstart: {root: /x, use: all}, vehicleid: {layout: {test_ids: 1600}}, veri776: null}"
    cfg = composed(*POOL, f"data.sources={said}", "data.target=veri776")
    complete_pools(cfg)
    complete_pools(cfg)  # `stages.main.data` is the same node
    check_config(cfg)
    sources = OmegaConf.to_container(cfg.data, resolve=True)["sources"]
    for name in ("quickstart", "vehicleid", "veri776"):
        alone = OmegaConf.to_container(composed(f"data={name}").data, resolve=True)
        del alone["_target_"]  # the pool is the data module
        if name == "quickstart":
            alone |= {"root": "/x", "use": "all"}
            alone["layout"]["root"] = "/x"
        if name == "vehicleid":
            alone["layout"]["test_ids"] = 1600
            alone["name"] = alone["layout"]["name"] = "vehicleid_1600"
        assert sources[name] == alone
    veri = composed("data=veri776").data
    assert (cfg.data.tasks, cfg.data.ap) == (veri.tasks, veri.ap)
    assert cfg.stages.main.data.layout.sources.veri776.layout.name == "veri776"


def test_a_pool_without_target_has_no_tasks_and_its_tasks_can_be_chosen(composed):
    cfg = composed(*POOL, "data.sources={quickstart: {}}")
    complete_pools(cfg)
    assert (cfg.data.tasks, cfg.data.ap) == ([], "standard")
    cfg = composed(*POOL, "data.sources={quickstart: {}}", "data.target=quickstart", "data.tasks=[day_to_day]")
    complete_pools(cfg)
    assert cfg.data.tasks == ["day_to_day"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.sources={veri77: {}}"], r"'data\.sources\.veri77'.*did you mean 'veri776'"),
        (["data.sources={vehiclenet: {}}"], r"data\.sources\.vehiclenet is a pool itself"),
        (["data.sources={veri776: {}}", "data.target=veri"], "data.target is 'veri', expected one of veri776, or null"),
        (["data.target=veri776"], "data.target is 'veri776'"),
    ],
)
def test_a_pool_that_cannot_be_is_refused(composed, overrides, message):
    cfg = composed(*POOL, *overrides)
    with pytest.raises(ConfigError, match=message):
        complete_pools(cfg)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ("{veri776: {rot: x}}", r"'data\.sources\.veri776\.rot'.*did you mean 'root'"),
        ("{veri776: {layout: {rot: x}}}", r"'data\.sources\.veri776\.layout\.rot'.*did you mean 'root'"),
        ("{veri776: {first_id: 3}}", "did you mean 'first_ids'"),
    ],
)
def test_unknown_keys_of_a_source_are_refused(composed, sources, message):
    cfg = composed(*POOL, f"data.sources={sources}")
    complete_pools(cfg)
    with pytest.raises(ConfigError, match=message):
        check_config(cfg)


def test_a_pool_has_what_one_of_its_sources_has(composed):
    cfg = composed("method=dndm", "data=pool", "data.sources={veri776: {}}")
    complete_pools(cfg)
    with pytest.raises(ConfigError, match="DNDM needs domain and pool"):
        check_config(cfg)
    cfg = composed("method=dndm", "data=pool", "data.sources={veri776: {}, dn_348: {}}")
    complete_pools(cfg)
    check_config(cfg)


def test_side_data_may_bring_what_a_method_needs(composed):
    check_config(composed("method=dndm", "data=veri776", "data.extra=domains.csv"))
    cfg = composed("method=dndm", "data=pool", "data.sources={veri776: {extra: domains.csv}}")
    complete_pools(cfg)
    check_config(cfg)


def test_vehiclenets_cityflow_can_be_its_validation(composed):
    cfg = composed(
        *("method=bot", "data=vehiclenet", "data@data.sources.cityflow=cityflow_vehiclenet", "data.target=cityflow")
    )
    complete_pools(cfg)
    check_config(cfg)
    assert cfg.data.sources.cityflow.layout.split == "vehiclenet"
    assert {name: source.use for name, source in cfg.data.sources.items()} == dict.fromkeys(cfg.data.sources, "all")
    assert cfg.data.tasks == ["image_to_image"]


MDL = ("method=bot_mdl", "stages=mdl_mined")


def test_a_stage_may_take_the_pools_target_as_a_data_set_of_its_own(composed):
    cfg = composed(*MDL, "data=cityflow_vehiclex", "data@data.sources.cityflow=cityflow_holdout")
    complete_pools(cfg)
    complete_pools(cfg)
    check_config(cfg)
    alone = composed("method=bot_mdl", "data=cityflow_holdout").data
    for stage in ("real", "mined"):
        assert OmegaConf.to_container(cfg.stages[stage].data, resolve=True) == OmegaConf.to_container(
            alone, resolve=True
        )
    assert cfg.stages.mixed.data.sources.vehiclex.first_ids == 100


def test_a_stage_that_takes_the_pools_target_needs_a_pool(composed):
    with pytest.raises(ConfigError, match=r"stages\.real\.data is a source of the pool, but data=cityflow is no pool"):
        complete_pools(composed(*MDL, "data=cityflow"))
    with pytest.raises(ConfigError, match=r"stages\.real\.data is a source of the pool, but data=pool .* no target"):
        complete_pools(composed(*MDL, "data=pool", "data.sources={veri776: {}}"))
    cfg = composed(*MDL, "data=cityflow_vehiclex", "data.sources.cityflow.first_ids=3")
    with pytest.raises(ConfigError, match=r"stages\.real\.data is trained on whole; remove first_ids"):
        complete_pools(cfg)
