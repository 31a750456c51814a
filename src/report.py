"""`python -m src.report run=… | runs=[…] [table=…]`: a run in pictures, runs beside published ones, a page."""

import hydra
from omegaconf import DictConfig

from src.config import CONF_DIR, one_or_more


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="report")
def main(cfg: DictConfig) -> None:
    """Reads the runs, prints the tables and writes the page into the run folder."""
    from src.entry import one_sentence_errors

    with one_sentence_errors():
        from pathlib import Path

        from src.figures.report import write_report

        runs = one_or_more(cfg.runs)
        write_report(
            runs, cfg.table, Path(cfg.paths.run_dir), run=cfg.run, vehicles=cfg.vehicles, attention=cfg.attention
        )


if __name__ == "__main__":
    main()
