"""`python -m src.label checkpoint=… [data=…|images=<folder>]`: names the colour and type of images."""

from omegaconf import DictConfig

from src.runtime.command import command


@command("label")
def main(cfg: DictConfig) -> None:
    """Labels the images and writes the file."""
    from src.config.checks import check_command
    from src.config.schema import LabelConfig
    from src.evaluation.attribute_labels import run

    check_command(cfg, LabelConfig)
    run(cfg)


if __name__ == "__main__":
    main()
