"""`python -m src.check_data data=… [data.root=…] [data.images=false] [decode=true] …`: is a data set complete."""

from omegaconf import DictConfig, open_dict

from src.runtime.command import command


@command("check_data")
def main(cfg: DictConfig) -> None:
    """Checks the data set, prints and writes the report; exit code 1 if there are problems."""
    import os
    import sys
    from pathlib import Path

    from hydra.utils import instantiate

    from src.config.checks import check_command
    from src.config.pools import data_sets
    from src.config.schema import CheckDataConfig
    from src.config.values import fitted
    from src.data.check.findings import check
    from src.figures.data_report import print_report
    from src.figures.images_a_class import draw_images_a_class
    from src.runtime.errors import ConfigError
    from src.runtime.json_files import write_json

    if "layout" not in cfg.data:
        raise ConfigError(f"Which data set? Pass data=<one of {', '.join(data_sets())}>.")
    with open_dict(cfg.data):
        images = fitted("data.images", cfg.data.pop("images"), bool)  # a key of this command alone
    if not images and (cfg.decode or cfg.duplicates):
        raise ConfigError("data.images=false looks at lists alone; leave decode and duplicates away.")
    check_command(cfg, CheckDataConfig)
    report = check(
        instantiate(cfg.data.layout, _convert_="all"),
        extra=cfg.data.get("extra"),
        tasks=list(cfg.data.tasks),
        images=images,
        decode=cfg.decode,
        duplicates=cfg.duplicates,
        workers=os.cpu_count() or 1 if cfg.workers is None else cfg.workers,
    )
    write_json(Path(cfg.report), report.as_dict())
    if cfg.figure is not None and report.images_a_class:
        draw_images_a_class(report.images_a_class, Path(cfg.figure))
    print_report(report, cfg.report)
    if not report.ok:
        sys.exit(1)


if __name__ == "__main__":
    main()
