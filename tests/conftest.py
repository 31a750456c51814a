"""Shared by all tests: the two small rendered sets, composed configurations, quiet threads."""

import importlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf, open_dict

from src.checkpoints.restore import build_method
from src.config.checks import check_config
from src.config.pools import complete_pools
from src.runtime.command import CONF_DIR
from src.runtime.resolvers import register_resolvers
from tests.made_up_device import Device

register_resolvers()
ROOT = Path(__file__).resolve().parent.parent
Compose = Callable[..., DictConfig]
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    """A made-up GPU, whose autocast is the CPU's."""
    autocast = torch.autocast
    monkeypatch.setattr(torch, "autocast", lambda _, *args, **kwargs: autocast("cpu", *args, **kwargs))
    return Device()


@pytest.fixture
def quickstart() -> Path:
    """Day and night vehicles in the DN-348 layout."""
    return ROOT / "data" / "quickstart"


@pytest.fixture
def quickstart_veri() -> Path:
    """Vehicles in the VeRi-776 layout."""
    return ROOT / "data" / "quickstart_veri"


@pytest.fixture
def composed(tmp_path: Path) -> Iterator[Compose]:
    """Composes a configuration as the command line would: `composed("method=bot", config="train")`."""

    def make(*overrides: str, config: str = "train") -> DictConfig:
        few = ["retrieval.queries=1"] if config in ("train", "evaluate") else []  # pictures take longer than training
        few += ["calibration_images=0"] if config == "train" else []
        cfg = compose(
            config,
            overrides=[f"paths.data_dir={ROOT / 'data'}", f"paths.run_dir={tmp_path / 'run'}", *few, *overrides],
            return_hydra_config=True,
        )
        # What Hydra knows only in a running job.
        choices = cfg.hydra.runtime.choices
        with open_dict(cfg):
            if OmegaConf.is_interpolation(cfg, "name"):
                cfg.name = "_".join(str(choices[group]) for group in ("method", "data") if choices.get(group))
            del cfg["hydra"]
        return cfg

    GlobalHydra.instance().clear()
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        yield make
    GlobalHydra.instance().clear()


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Runs `python -m <module> …` in `tmp_path`, and in this process, for to start one takes seconds."""

    def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        capfd.readouterr()
        code: object = 0
        try:
            importlib.import_module(module).main()
        except SystemExit as ended:
            code = ended.code
        out, err = capfd.readouterr()
        if isinstance(code, str):  # as the interpreter does
            code, err = 1, f"{err}{code}\n"
        return subprocess.CompletedProcess([module, *arguments], int(str(code or 0)), out, err)

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield run
    root.handlers[:], root.level = handlers, level  # Hydra has set its own


@pytest.fixture
def two_processes(tmp_path: Path) -> Callable[[str], None]:
    """Runs a script in two processes that torchrun starts, with `tmp_path` as its argument."""

    def run(script: str) -> None:
        file = tmp_path / "one_of_two.py"
        file.write_text(script)
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        ended = subprocess.run(
            [sys.executable, *launch, str(file), str(tmp_path)],
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        assert ended.returncode == 0, ended.stderr[-2000:]

    return run


@pytest.fixture
def checked(composed: Compose) -> Compose:
    """The same as `src.train` prepares it before it runs: pools completed, keys checked."""

    def make(*overrides: str) -> DictConfig:
        cfg = composed(*overrides)
        complete_pools(cfg)
        check_config(cfg)
        return cfg

    return make


@pytest.fixture
def untrained(composed: Compose, tmp_path: Path) -> Callable[..., Path]:
    """Writes a checkpoint as a run leaves it, but with no training behind it: `untrained("method=bot")`."""

    def make(*overrides: str, names: dict[str, list[str]] | None = None) -> Path:
        cfg = composed("backbone=efficientnet_lite0", "transforms.size=32", *overrides)
        names = {"colour": ["red", "white"], "type": ["sedan", "truck"]} | (names or {})
        method = build_method(cfg, 5, names)
        config = OmegaConf.to_container(cfg, resolve=True)
        labels = [["cars", number] for number in range(5)]
        data = {"name": "cars", "fingerprint": "f"}
        reid = {"config": config, "stage": "main", "labels": labels, "names": names, "data": data}
        path = tmp_path / "untrained" / "last.ckpt"
        path.parent.mkdir(exist_ok=True)
        torch.save({"state_dict": method.state_dict(), "reid": reid}, path)
        return path

    return make
