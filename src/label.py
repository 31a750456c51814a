"""`python -m src.label checkpoint=… [data=…|images=<folder>]`: names the colour and type of images."""

import hydra
from omegaconf import DictConfig

from src.config import CONF_DIR


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="label")
def main(cfg: DictConfig) -> None:
    """Labels the images and writes the file."""
    from src.entry import one_sentence_errors

    with one_sentence_errors():
        from src.labelling import run

        run(cfg)


if __name__ == "__main__":
    main()
