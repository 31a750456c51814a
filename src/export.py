"""`python -m src.export checkpoint=… out=… format=onnx`: a checkpoint for other run times."""

import hydra
from omegaconf import DictConfig

from src.config import CONF_DIR


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="export")
def main(cfg: DictConfig) -> None:
    """Exports."""
    from src.entry import one_sentence_errors

    with one_sentence_errors():
        from src.exporting import run

        run(cfg)


if __name__ == "__main__":
    main()
