"""`python -m src.index checkpoint=… images=… out=…`: a gallery that can be searched, and changed with `add=…`."""

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from src.runtime.command import command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from src.gallery.blurred_copies import Boxes, Find


@command("index")
def main(cfg: DictConfig) -> None:
    """Embeds the gallery, or changes the one that is there."""
    from src.config.checks import check_command
    from src.config.gallery_schema import IndexConfig
    from src.gallery import build, change_run

    check_command(cfg, IndexConfig)
    find = None if cfg.blur is None else what_to_blur(cfg)
    if change_run.changes_asked(cfg):
        change_run.run(cfg, find)
    else:
        build.run(cfg, find)


def what_to_blur(cfg: DictConfig) -> "Find":
    """Boxes in a picture, as `blur` says: of a CSV file, or what a detector finds.

    Raises:
        ConfigError: If there is no such file, or it is not said what the detector's classes are.
    """
    from src.gallery.blurred_copies import boxes_of
    from src.runtime.errors import ConfigError
    from src.video.onnx_detector import ONNXDetector

    if not cfg.blur.endswith(".onnx"):
        return boxes_of(Path(cfg.blur))
    if cfg.blur_names is None:
        raise ConfigError(
            f"blur={cfg.blur} needs blur_names=[plate,face], what its classes are called: all of them are blurred."
        )
    detector = ONNXDetector(Path(cfg.blur), names=[*cfg.blur_names], device=cfg.device)

    def find(_: str, image: "NDArray[np.uint8]") -> "Boxes":
        (found,) = detector([image])
        return [(x1, y1, x2, y2) for x1, y1, x2, y2 in found.boxes[found.scores >= cfg.blur_score].tolist()]

    return find


if __name__ == "__main__":
    main()
