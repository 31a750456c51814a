"""`python -m src.crop video=… camera=… start=… detector=… out=…`: the vehicles of a video as a gallery."""

import hydra
from omegaconf import DictConfig

from src.config import CONF_DIR


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="crop")
def main(cfg: DictConfig) -> None:
    """Crops the vehicles."""
    from src.entry import one_sentence_errors

    with one_sentence_errors():
        from src.video.crop_run import run

        run(cfg)


if __name__ == "__main__":
    main()
