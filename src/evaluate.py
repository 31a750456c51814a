"""`python -m src.evaluate checkpoint=… [data=…]`: tests a checkpoint, in a run folder of its own."""

import hydra
from omegaconf import DictConfig

from src.config import CONF_DIR


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Starts the processes the configuration asks for and evaluates."""
    from src.entry import one_sentence_errors

    with one_sentence_errors():
        from src.evaluation import run
        from src.launch import local_processes, relaunch

        processes = local_processes(cfg.trainer)
        if processes > 1:
            relaunch("src.evaluate", processes)
        else:
            run(cfg)


if __name__ == "__main__":
    main()
