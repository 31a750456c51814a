"""`python -m src.train method=… data=… trainer=…`: trains a method and tests it."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from src.config import CONF_DIR


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Checks the configuration, starts the processes it asks for, runs the stages.

    Returns:
        The mean mAP of the tasks, which a sweeper may maximise.
    """
    # Heavy imports come after the configuration is parsed: --help and mistyped keys answer at once.
    from src.entry import one_sentence_errors

    with one_sentence_errors():
        from src.config import check_config, complete_pools
        from src.launch import local_processes, relaunch
        from src.results import mean_ap
        from src.stages import interrupted, run

        if cfg.resume is not None:
            cfg = interrupted(cfg.resume)
        complete_pools(cfg)
        check_config(cfg)
        processes = local_processes(cfg.trainer)
        if processes > 1:
            relaunch("src.train", processes)
        else:
            run(cfg)
        return mean_ap(Path(cfg.paths.run_dir))


if __name__ == "__main__":
    main()
