"""`python -m src.submit embeddings=…`: ranks a gallery of hidden vehicles, as the AI City Challenge wants it."""

from omegaconf import DictConfig

from src.runtime.command import command


@command("submit")
def main(cfg: DictConfig) -> None:
    """Ranks and writes the submission."""
    from src.config.checks import check_command
    from src.config.schema import SubmitConfig
    from src.evaluation.submission import run

    check_command(cfg, SubmitConfig)
    run(cfg)


if __name__ == "__main__":
    main()
