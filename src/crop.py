"""`python -m src.crop video=… camera=… start=… detector=… out=…`: the vehicles of a video as a gallery."""

from omegaconf import DictConfig

from src.runtime.command import command


@command("crop")
def main(cfg: DictConfig) -> None:
    """Crops the vehicles."""
    from src.config.checks import check_command
    from src.config.gallery_schema import CropConfig
    from src.video.crop_run import run

    check_command(cfg, CropConfig)
    run(cfg)


if __name__ == "__main__":
    main()
