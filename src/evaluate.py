"""`python -m src.evaluate checkpoint=… [data=…]`: tests a checkpoint, in a run folder of its own."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from src.config import CONF_DIR


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="evaluate")
def main(cfg: DictConfig) -> float | None:
    """Starts the processes the configuration asks for and evaluates.

    Returns:
        The mean mAP of the tasks, which a sweeper may maximise.
    """
    from src.entry import one_sentence_errors

    with one_sentence_errors():
        from src.evaluation import run
        from src.launch import local_processes, relaunch
        from src.results import mean_ap

        processes = local_processes(cfg.trainer)
        if processes > 1:
            relaunch("src.evaluate", processes)
        else:
            run(cfg)
        return mean_ap(Path(cfg.paths.run_dir))


if __name__ == "__main__":
    main()
