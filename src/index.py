"""`python -m src.index checkpoint=… images=… out=…`: a gallery that can be searched."""

import hydra
from omegaconf import DictConfig

from src.config import CONF_DIR


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="index")
def main(cfg: DictConfig) -> None:
    """Embeds the gallery."""
    from src.entry import one_sentence_errors

    with one_sentence_errors():
        from src.gallery.indexing import run

        run(cfg)


if __name__ == "__main__":
    main()
