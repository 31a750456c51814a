"""`python -m src.app index=…`: a page to search a gallery with."""

from pathlib import Path

from omegaconf import DictConfig

from src.runtime.command import command


@command("app")
def main(cfg: DictConfig) -> None:
    """Serves the page until it is stopped with Ctrl-C."""
    from aiohttp import web

    from src.checkpoints.calibration_entry import require_calibration
    from src.config.checks import check_command
    from src.config.gallery_schema import AppConfig
    from src.gallery import Gallery
    from src.gallery.living import LivingGallery
    from src.gallery.page import make_app
    from src.gallery.query import matching_embedder

    check_command(cfg, AppConfig)
    gallery = Gallery.open(cfg.index, cfg.store, cfg.milvus.uri, cfg.milvus.token)
    embedder = matching_embedder(gallery, cfg.checkpoint, cfg.device, cfg.engine)
    if cfg.prior is not None:
        require_calibration(embedder.calibration, embedder.checkpoint).prior_of(len(gallery), cfg.prior)
    watched = None if cfg.watch is None else Path(cfg.watch)
    living = LivingGallery(gallery, Path(cfg.index), embedder, watched, float(cfg.watch_every))
    app = make_app(living, embedder, cfg.host, cfg.max_upload_mb, cfg.max_megapixels, cfg.tracks, cfg.prior)
    try:
        web.run_app(app, host=cfg.host, port=cfg.port)
    except OSError as error:
        raise OSError(f"host={cfg.host} port={cfg.port} is not free ({error}); pass another port.") from error


if __name__ == "__main__":
    main()
