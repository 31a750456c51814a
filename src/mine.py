"""`python -m src.mine checkpoint=… [data=…]`: pseudo-identities for a part of an unlabelled test set, as a CSV file."""

import hydra
from omegaconf import DictConfig

from src.config import CONF_DIR


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="mine")
def main(cfg: DictConfig) -> None:
    """Starts the processes the configuration asks for and mines."""
    from src.entry import one_sentence_errors

    with one_sentence_errors():
        from src.launch import local_processes, relaunch
        from src.mining import run

        processes = local_processes(cfg.trainer)
        if processes > 1 and cfg.embeddings is None:
            relaunch("src.mine", processes)
        else:
            run(cfg)


if __name__ == "__main__":
    main()
