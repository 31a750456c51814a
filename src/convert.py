"""`python -m src.convert weights=… out=…`: a checkpoint of other people's code as one of ours."""

import hydra
from omegaconf import DictConfig

from src.config import CONF_DIR


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="convert")
def main(cfg: DictConfig) -> None:
    """Converts."""
    from src.entry import one_sentence_errors

    with one_sentence_errors():
        from src.converting import run

        run(cfg)


if __name__ == "__main__":
    main()
