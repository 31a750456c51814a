from itertools import product
from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from src.config import CONF_DIR, ConfigError, check_config


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (Path(CONF_DIR) / group).glob("*.yaml"))


NEED_DOMAIN = {"dndm", "dndm_released"}
HAVE_DOMAIN = {"quickstart", "dn_348", "dn_wild", "csv"}


@pytest.mark.parametrize(("method", "data"), list(product(choices("method"), choices("data"))))
def test_every_method_composes_with_every_data_set_and_trainer_or_says_why_not(composed, method, data):
    for trainer in choices("trainer"):
        cfg = composed(f"method={method}", f"data={data}", f"trainer={trainer}")
        if method in NEED_DOMAIN and data not in HAVE_DOMAIN:
            with pytest.raises(ConfigError, match=f"domain.*{data}.*dn_348"):
                check_config(cfg)
        else:
            check_config(cfg)


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_every_experiment_composes_and_resolves(composed, experiment):
    cfg = composed(f"experiment={experiment}")
    check_config(cfg)
    assert OmegaConf.to_container(cfg, resolve=True)["stages"]["main"]["epochs"] == cfg.epochs


@pytest.mark.parametrize(
    "group",
    ["sweep", "debug", "backbone", "optim", "logger", "retrieval", "callbacks", "paths", "stages", "transforms"],
)
def test_every_choice_of_every_other_group_composes(composed, group):
    for choice in choices(group):
        check_config(composed(f"{group}={choice}"))


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


@pytest.mark.parametrize("target", ["os.system", "src.launch.relaunch", "torch.load"])
def test_a_class_of_another_package_is_refused(composed, target):
    with pytest.raises(ConfigError, match=target):
        check_config(composed(f"method._target_={target}"))


def test_public_names_of_the_sweeps(composed):
    cfg = composed("method=dndm", "method.alpha=0.2", "method.beta=0.1")
    assert (cfg.method.alpha, cfg.method.beta) == (0.2, 0.1)
