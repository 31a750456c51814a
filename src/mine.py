"""`python -m src.mine checkpoint=… [data=…]`: pseudo-identities for a part of an unlabelled test set, as a CSV file."""

from omegaconf import DictConfig

from src.runtime.command import command


@command("mine")
def main(cfg: DictConfig) -> None:
    """Starts the processes the configuration asks for and mines."""
    from src.config.checks import check_command
    from src.config.schema import MineConfig
    from src.evaluation.pseudo_labels import run
    from src.runtime.launch import local_processes, relaunch

    check_command(cfg, MineConfig)
    processes = local_processes(cfg.trainer)
    if processes > 1 and cfg.embeddings is None:
        relaunch("src.mine", processes)
    else:
        run(cfg)


if __name__ == "__main__":
    main()
