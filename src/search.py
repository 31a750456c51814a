"""`python -m src.search index=… query=car.jpg`: where else was this vehicle seen."""

import hydra
from omegaconf import DictConfig

from src.config import CONF_DIR


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="search")
def main(cfg: DictConfig) -> None:
    """Searches."""
    from src.entry import one_sentence_errors

    with one_sentence_errors():
        from src.gallery.searching import run

        run(cfg)


if __name__ == "__main__":
    main()
