"""Checkpoints by name: a file, a folder that `src.export card=true` has filled, or a repository of a hub."""

import re
from pathlib import Path

from src.runtime.errors import ConfigError

#: The checkpoint's name in a published folder.
HUB_FILE = "model.ckpt"
_REPOSITORY = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[\w.-]+?)(@(?P<revision>[\w./-]+))?")


def checkpoint_file(checkpoint: str | Path) -> Path:
    """The file of a checkpoint, fetched from the hub if it names a repository there and is not in its cache.

    What is there is a stranger's file like any other: it is read without running code, and may name no classes but
    those that `src.config.targets` trusts.

    Args:
        checkpoint: A file, a folder with a `model.ckpt`, or `owner/name`, and with `@` behind it a branch, tag or
            commit; what lies here by that name comes first.

    Raises:
        ConfigError: If the repository cannot be had; says why.
    """
    path = Path(checkpoint).expanduser()
    if path.is_dir():
        if not (path / HUB_FILE).is_file():
            raise ConfigError(
                f"The folder {path} has no {HUB_FILE}; pass a checkpoint, or what src.export card=true has written."
            )
        return path / HUB_FILE
    named = _REPOSITORY.fullmatch(str(checkpoint))
    if path.exists() or named is None or isinstance(checkpoint, Path) or path.suffix in (".ckpt", ".pth", ".pt"):
        return path
    return _fetched(named["name"], named["revision"])


def _fetched(repository: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            HfHubHTTPError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"There is no file {repository} here, and to look for it on the hub needs huggingface_hub: "
            "pip install 'vehicle-reid[hub]'."
        ) from error
    try:
        return Path(hf_hub_download(repository, HUB_FILE, revision=revision))
    except LocalEntryNotFoundError as error:
        raise ConfigError(
            f"There is no file {repository} here, and the hub cannot be reached (or HF_HUB_OFFLINE is set); what was "
            "fetched before would be in its cache. Pass a file, or run again when there is a network."
        ) from error
    except RevisionNotFoundError as error:
        raise ConfigError(f"{repository} has no revision {revision!r}; pass a branch, tag or commit of it.") from error
    except (RepositoryNotFoundError, GatedRepoError) as error:
        raise ConfigError(
            f"There is no file {repository} here, and no repository of that name on the hub that you may read; pass a "
            "checkpoint, or log in with hf auth login."
        ) from error
    except EntryNotFoundError as error:
        raise ConfigError(f"{repository} has no {HUB_FILE}; it was not published by src.export card=true.") from error
    except (HfHubHTTPError, OSError) as error:
        raise ConfigError(f"{repository} cannot be fetched from the hub ({str(error).splitlines()[0]}).") from error
