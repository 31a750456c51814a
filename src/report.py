"""`python -m src.report run=… | runs=[…] [table=…] | checkpoints=[…] test_on=[…]`: pictures, tables, a page."""

from omegaconf import DictConfig

from src.runtime.command import command


@command("report")
def main(cfg: DictConfig) -> None:
    """Reads the runs, or measures checkpoints on data sets, prints tables and writes the page into the run folder."""
    from pathlib import Path

    from src.config.checks import check_command, one_or_more
    from src.config.schema import ReportConfig
    from src.runs.reports import write_report
    from src.runs.transfer_table import write_transfer

    check_command(cfg, ReportConfig)
    if cfg.checkpoints or cfg.test_on:
        write_transfer(cfg)
        return
    runs = one_or_more(cfg.runs)
    write_report(runs, cfg.table, Path(cfg.paths.run_dir), run=cfg.run, vehicles=cfg.vehicles, attention=cfg.attention)


if __name__ == "__main__":
    main()
