"""`python -m src.train method=… data=… trainer=…`: trains a method and tests it."""

from pathlib import Path

from omegaconf import DictConfig

from src.runtime.command import command


@command("train")
def main(cfg: DictConfig) -> float | None:
    """Checks the configuration, starts the processes it asks for, runs the stages.

    Returns:
        The mean mAP of the tasks, which a sweeper may maximise.
    """
    from hydra.core.hydra_config import HydraConfig

    from src.config.checks import check_config
    from src.evaluation.metrics_file import mean_ap
    from src.runtime.launch import in_processes
    from src.training.run import interrupted, run

    if cfg.resume is not None:
        cfg = interrupted(cfg.resume, HydraConfig.get().overrides.task)
    check_config(cfg)
    in_processes("src.train", cfg.trainer, lambda: run(cfg))
    return mean_ap(Path(cfg.paths.run_dir))


if __name__ == "__main__":
    main()
