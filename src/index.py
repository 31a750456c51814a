"""`python -m src.index checkpoint=… images=… out=…`: a gallery that can be searched, and changed with `add=…`."""

from omegaconf import DictConfig

from src.runtime.command import command


@command("index")
def main(cfg: DictConfig) -> None:
    """Embeds the gallery, or changes the one that is there."""
    from src.config.checks import check_command
    from src.config.gallery_schema import IndexConfig
    from src.gallery import build, change_run

    check_command(cfg, IndexConfig)
    if change_run.changes_asked(cfg):
        change_run.run(cfg)
    else:
        build.run(cfg)


if __name__ == "__main__":
    main()
