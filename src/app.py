"""`python -m src.app index=…`: a page to search a gallery with."""

import hydra
from omegaconf import DictConfig

from src.config import CONF_DIR


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="app")
def main(cfg: DictConfig) -> None:
    """Serves the page until it is stopped with Ctrl-C."""
    from src.entry import one_sentence_errors

    with one_sentence_errors():
        from aiohttp import web

        from src.gallery import Gallery
        from src.gallery.searching import matching_embedder
        from src.page import make_app

        gallery = Gallery.open(cfg.index, cfg.store, cfg.milvus.uri, cfg.milvus.token)
        embedder = matching_embedder(gallery, cfg.checkpoint, cfg.device)
        app = make_app(gallery, embedder, cfg.host, cfg.max_upload_mb, cfg.max_megapixels)
        try:
            web.run_app(app, host=cfg.host, port=cfg.port)
        except OSError as error:
            raise OSError(f"host={cfg.host} port={cfg.port} is not free ({error}); pass another port.") from error


if __name__ == "__main__":
    main()
