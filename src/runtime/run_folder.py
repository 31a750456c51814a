"""The folder of a run or a sweep: made for it alone, before Hydra writes into it."""

import itertools
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write

from src.runtime.errors import ConfigError
from src.runtime.processes import agree_on, launched
from src.runtime.sweeps import check_single, check_sweep

#: What a run leaves once it has results.
METRICS_FILE = "metrics.json"


class OwnFolder(Callback):
    """Gives every run and every sweep a folder of its own, and refuses one that cannot be written or has results.

    Hydra makes the folder, and writes its log and `.hydra` into it, before any code of a command runs. So what a
    command refuses must be refused here, or it has overwritten what it does not touch.

    Args:
        results: The file that a finished run of this command has; None for commands whose folders hold no results.
    """

    def __init__(self, results: str | None = None) -> None:
        self._results = results

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Makes the folder of a run; that of a resumed run is the run's own, and its `.hydra` stays as it is."""
        with _one_sentence():
            HydraConfig.instance().set_config(config)  # the folder's name may tell what was chosen
            if launched() is None:  # one of several processes of a sweep's job is started as a single run
                check_single(config)
            if config.get("resume") is not None:
                _go_on_in(config)
            folder = _own_folder("run", config)
            if self._results is not None:
                refuse_finished(folder, resume=config.get("resume"), results=self._results)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Makes the folder of a sweep."""
        with _one_sentence():
            if config.get("resume") is not None:
                raise ConfigError("resume= goes on with one run; leave --multirun away and pass a folder of the sweep.")
            HydraConfig.instance().set_config(config)
            check_sweep(config)
            folder = _own_folder("sweep", config)
            if self._results is not None and (done := sorted(folder.glob(f"*/{self._results}"))):
                raise ConfigError(
                    f"{folder} already holds the results of {len(done)} jobs of a sweep; pass another folder as "
                    "hydra.sweep.dir."
                )


def refuse_finished(folder: Path, resume: str | None = None, results: str = METRICS_FILE) -> None:
    """Refuses a run folder that already holds results.

    Args:
        folder: The run's.
        resume: The run that shall go on, if one shall.
        results: The file that a finished run has.

    Raises:
        ConfigError: Names the folder.
    """
    if not (folder / results).exists():
        return
    if resume is None:
        raise ConfigError(f"{folder} already holds the results of a run; pass another folder as hydra.run.dir.")
    last = max(folder.glob("stages/*/last.ckpt"), key=lambda path: path.stat().st_mtime, default="…/last.ckpt")
    raise ConfigError(
        f"resume={resume} is a finished run, whose results stay as they are; to train on from its weights, start a new "
        f"run with the same configuration and stages.<its first stage>.load={last}."
    )


def run_of(path: str) -> Path:
    """The run folder that `resume` means.

    Raises:
        ConfigError: If it is a file, or there is no run.
    """
    folder = Path(path).expanduser()
    if folder.is_file():
        run = next((parent.parent for parent in folder.parents if parent.name == "stages"), None)
        hint = f"pass resume={run}" if run else "pass the folder of a run"
        raise ConfigError(f"resume={path} is a file, expected the folder of an interrupted run; {hint}.")
    if not sorted(folder.glob("stages/*/last.ckpt")):
        raise ConfigError(f"resume={path} has no stages/<stage>/last.ckpt yet; start the run again without resume.")
    return folder


def _go_on_in(config: DictConfig) -> None:
    """Sets the folder of a resumed run, which keeps what Hydra wrote when it was started."""
    run = run_of(config.resume)
    given = [override for override in config.hydra.overrides.hydra if override.startswith("hydra.run.dir=")]
    if given and Path(config.hydra.run.dir).resolve() != run.resolve():
        raise ConfigError(
            f"resume={run} goes on in its own folder, so leave hydra.run.dir={config.hydra.run.dir} away."
        )
    with read_write(config.hydra):
        config.hydra.run.dir = str(run)
        config.hydra.output_subdir = None


def _own_folder(kind: str, config: DictConfig) -> Path:
    """Makes the folder, which nobody else has if its name is the run's id and was not given."""
    folder = Path(config.hydra[kind].dir)
    ids = OmegaConf.get_cache(config).get("run_id", {})
    own = next(iter(ids.values())) if ids else None
    launch = launched()
    if folder.name != own or (launch is not None and (launch.by == "srun" or launch.rank > 0)):
        _make(kind, folder, exist_ok=True)
        return folder
    for number in itertools.count(1):
        name = own if number == 1 else f"{own}_{number}"
        try:
            _make(kind, folder.with_name(name), exist_ok=False)
        except FileExistsError:
            continue
        for arguments in ids:
            ids[arguments] = name  # what OmegaConf remembers of ${run_id:}
        agree_on(name)
        return folder.with_name(name)
    raise AssertionError


def _make(kind: str, folder: Path, exist_ok: bool) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=exist_ok)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if isinstance(error, FileExistsError) and not exist_ok:
            raise
        raise ConfigError(
            f"the folder {folder} cannot be written ({error.strerror}); pass another as hydra.{kind}.dir, or "
            "paths.output_dir=<folder> for all of them."
        ) from error


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Ends the process with the sentence of an error: Hydra would only warn, and go on."""
    try:
        yield
    except ConfigError as error:
        sys.exit(f"Error: {error}")
