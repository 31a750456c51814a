"""`python -m src.report run=… | runs=[…] [table=…]`: a run in pictures, runs beside published ones, a page."""

from omegaconf import DictConfig

from src.runtime.command import command


@command("report")
def main(cfg: DictConfig) -> None:
    """Reads the runs, prints the tables and writes the page into the run folder."""
    from pathlib import Path

    from src.config.checks import check_command, one_or_more
    from src.config.schema import ReportConfig
    from src.runs.reports import write_report

    check_command(cfg, ReportConfig)
    runs = one_or_more(cfg.runs)
    write_report(runs, cfg.table, Path(cfg.paths.run_dir), run=cfg.run, vehicles=cfg.vehicles, attention=cfg.attention)


if __name__ == "__main__":
    main()
