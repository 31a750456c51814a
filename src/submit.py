"""`python -m src.submit embeddings=…`: ranks a gallery of hidden vehicles, as the AI City Challenge wants it."""

import hydra
from omegaconf import DictConfig

from src.config import CONF_DIR


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="submit")
def main(cfg: DictConfig) -> None:
    """Ranks and writes the submission."""
    from src.entry import one_sentence_errors

    with one_sentence_errors():
        from src.submission import run

        run(cfg)


if __name__ == "__main__":
    main()
