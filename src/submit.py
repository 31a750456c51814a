"""`python -m src.submit embeddings=…`: ranks a gallery of hidden vehicles, as the AI City Challenge wants it."""

from omegaconf import DictConfig

from src.runtime.command import command


@command("submit")
def main(cfg: DictConfig) -> None:
    """Ranks and writes the submission."""
    from src.evaluation.submission import run

    run(cfg)


if __name__ == "__main__":
    main()
