"""`python -m src.convert weights=… out=…`: a checkpoint of other people's code as one of ours."""

from omegaconf import DictConfig

from src.runtime.command import command


@command("convert")
def main(cfg: DictConfig) -> None:
    """Converts."""
    from src.checkpoints.conversion import run
    from src.config.checks import check_command
    from src.config.schema import ConvertConfig

    check_command(cfg, ConvertConfig)
    run(cfg)


if __name__ == "__main__":
    main()
