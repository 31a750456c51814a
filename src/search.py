"""`python -m src.search index=… query=car.jpg`: where else was this vehicle seen."""

from omegaconf import DictConfig

from src.runtime.command import command


@command("search")
def main(cfg: DictConfig) -> None:
    """Searches."""
    from src.config.checks import check_command
    from src.config.gallery_schema import SearchConfig
    from src.gallery.query import run

    check_command(cfg, SearchConfig)
    run(cfg)


if __name__ == "__main__":
    main()
