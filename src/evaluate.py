"""`python -m src.evaluate checkpoint=… [data=…]`: tests a checkpoint, in a run folder of its own."""

from pathlib import Path

from omegaconf import DictConfig

from src.runtime.command import command


@command("evaluate")
def main(cfg: DictConfig) -> float | None:
    """Starts the processes the configuration asks for and evaluates.

    Returns:
        The mean mAP of the tasks, which a sweeper may maximise.
    """
    from src.config.checks import check_command
    from src.config.schema import EvaluateConfig
    from src.evaluation.evaluation_run import run
    from src.evaluation.metrics_file import mean_ap
    from src.runtime.launch import in_processes

    check_command(cfg, EvaluateConfig)
    in_processes("src.evaluate", cfg.trainer, lambda: run(cfg))
    return mean_ap(Path(cfg.paths.run_dir))


if __name__ == "__main__":
    main()
