"""`python -m src.link index=…`: which tracks of a gallery show one vehicle, and its trips over the cameras."""

from omegaconf import DictConfig

from src.runtime.command import command


@command("link")
def main(cfg: DictConfig) -> None:
    """Links the tracks."""
    from src.config.checks import check_command
    from src.config.gallery_schema import LinkConfig
    from src.gallery.link_run import run

    check_command(cfg, LinkConfig)
    run(cfg)


if __name__ == "__main__":
    main()
