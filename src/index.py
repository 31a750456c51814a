"""`python -m src.index checkpoint=… images=… out=…`: a gallery that can be searched."""

from omegaconf import DictConfig

from src.runtime.command import command


@command("index")
def main(cfg: DictConfig) -> None:
    """Embeds the gallery."""
    from src.config.checks import check_command
    from src.config.gallery_schema import IndexConfig
    from src.gallery.build import run

    check_command(cfg, IndexConfig)
    run(cfg)


if __name__ == "__main__":
    main()
