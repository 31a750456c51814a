"""The server behind the page: pictures in, ranked results out."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from importlib import resources
from typing import Any

import cv2
import numpy as np
from aiohttp import web

from src.data import known
from src.embed import Embedder
from src.gallery import COLUMNS, Filters, Gallery, Hit
from src.gallery.hit_probabilities import H, Judge, at_least, not_in_gallery
from src.gallery.living import LivingGallery
from src.gallery.page.search_request import asked_cameras, asked_number, asks_for_tracks
from src.gallery.page.shown import Shown
from src.gallery.page.uploads import UploadError, read_upload
from src.gallery.track_search import TrackFeature, TrackHit, Tracks, track_times
from src.gallery.videos import video_at

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MOST = 200  # results of a search
_SIDE = 320  # of a result's picture, in pixels
_STATIC = {
    "index.html": "text/html",
    "style.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_LOCAL = ("127.0.0.1", "localhost", "::1")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_LOCK = web.AppKey("lock", asyncio.Lock)
_MAX_PIXELS = web.AppKey("max_pixels", int)
_MAX_UPLOAD = web.AppKey("max_upload_mb", float)


_SHOWN = web.AppKey("shown", Shown)


def make_app(
    gallery: Gallery | LivingGallery,
    embedder: Embedder,
    host: str = "127.0.0.1",
    max_upload_mb: float = 10,
    max_megapixels: float = 50,
    tracks: TrackFeature = "mean",
    prior: float | None = None,
) -> web.Application:
    """The application, for `aiohttp.web.run_app`.

    `GET /api/gallery` describes the gallery. `POST /api/search` with a picture as its body and `GET /api/search?row=…`
    return results; both take top, threshold, min_probability, after, before, and any number of camera, domain, colour
    and type. The domain of an uploaded picture is `query_domain`. With `by=track` results are tracks, and the query of
    a row is its whole track. `GET /api/images/<row>` is a picture, `GET /api/videos/<number>` a video that pictures
    were cropped from.

    Args:
        gallery: What is searched; a living one is watched as long as the application runs.
        embedder: Of the same checkpoint.
        host: Where it will listen. On this machine alone, requests for other host names are refused, so that no web
            site can reach the page through the browser.
        max_upload_mb: Largest upload, in MiB.
        max_megapixels: Largest picture.
        tracks: See `Tracks`.
        prior: See `Calibration.prior_of`.
    """
    app = web.Application(middlewares=[_careful(host)], client_max_size=int(max_upload_mb * 2**20))
    app[_SHOWN] = Shown(gallery, embedder, tracks, prior)
    app[_LOCK], app[_MAX_PIXELS], app[_MAX_UPLOAD] = asyncio.Lock(), int(max_megapixels * 1e6), max_upload_mb
    app.router.add_get("/", _static("index.html"))
    for name in ("style.css", "page.js", "icon.svg"):
        app.router.add_get(f"/{name}", _static(name))
    app.router.add_get("/api/gallery", _describe)
    app.router.add_get("/api/search", _search_row)
    app.router.add_post("/api/search", _search_upload)
    app.router.add_get(r"/api/images/{row:\d{1,12}}", _picture)
    app.router.add_get(r"/api/videos/{number:\d{1,9}}", _video)
    if isinstance(gallery, LivingGallery) and gallery.images is not None:
        app.cleanup_ctx.append(_watched(gallery))
    return app


def _watched(gallery: LivingGallery) -> Callable[[web.Application], AsyncIterator[None]]:
    async def run(_: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(gallery.watch())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    return run


def _careful(host: str) -> Any:
    """Checks the host name, adds headers, and answers what is wrong in one sentence."""

    @web.middleware
    async def handle(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if host in _LOCAL and request.url.host not in _LOCAL:
                raise web.HTTPForbidden(text=f"This page is for this machine alone, not for {request.url.host}.")
            response = await handler(request)
        except web.HTTPException as error:
            response = web.json_response({"error": error.text}, status=error.status)
        except ValueError as error:
            response = web.json_response({"error": str(error)}, status=400)
        response.headers.update(_HEADERS)
        return response

    return handle


def _static(name: str) -> Handler:
    content = resources.files("src.gallery.page").joinpath("static", name).read_text(encoding="utf-8")

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=content, content_type=_STATIC[name], headers={"Cache-Control": "no-cache"})

    return answer


async def _describe(request: web.Request) -> web.Response:
    shown = request.app[_SHOWN]
    tracks, embedder = await shown.now()
    gallery = tracks.gallery
    judge = Judge.of(gallery, embedder, shown.prior)
    table, named = gallery.table, gallery.meta.cameras
    values = {name: sorted(set(table.loc[known(table, column), column].tolist())) for name, column in COLUMNS.items()}
    times = table["timestamp"].dropna()
    cameras = [
        {
            "id": camera,
            "name": named[camera].name if camera in named else f"Camera {camera}",
            "place": gallery.places.get(camera),
        }
        for camera in values["camera"]
    ]
    return web.json_response(
        {
            "name": gallery.meta.data.name or table["dataset"].iloc[0],
            "count": len(gallery),
            "cameras": cameras,
            "domains": values["domain"],
            "colours": values["colour"],
            "types": values["type"],
            "times": [times.min(), times.max()] if len(times) else None,
            "time_unit": gallery.meta.time_unit or "",
            "needs_domain": embedder.needs_domain,
            "tracks": tracks.any,
            "by_track": bool(gallery.videos),
            "living": shown.living is not None,
            "growing": shown.living is not None and shown.living.images is not None,
            "newest": [gallery.meta.base, gallery.meta.next_number],
            "probabilities": None if judge is None else judge.sentence,
            "max_upload_mb": request.app[_MAX_UPLOAD],
        }
    )


async def _search_row(request: web.Request) -> web.Response:
    (tracks, embedder), number = await request.app[_SHOWN].now(), asked_number(request, "row", int, 0, None)
    if number is None:
        raise ValueError("row is None, expected the number of an image.")
    gallery, row = tracks.gallery, tracks.gallery.row_of(number)
    if asks_for_tracks(request):
        return await _answer(request, tracks, embedder, gallery.features[tracks.rows_of(row)], row)
    return await _answer(request, tracks, embedder, gallery.features[row : row + 1], row)


async def _search_upload(request: web.Request) -> web.Response:
    content = await request.read()
    if not content:
        raise UploadError("There is no picture in the request.")
    domain = request.query.get("query_domain") or None
    tracks, embedder = await request.app[_SHOWN].now()

    def embed() -> np.ndarray:
        image = read_upload(content, request.app[_MAX_PIXELS])
        return embedder(image, domain)

    async with request.app[_LOCK]:  # one at a time: the network takes all cores
        features = await asyncio.to_thread(embed)
    return await _answer(request, tracks, embedder, features, None)


async def _answer(
    request: web.Request, tracks: Tracks, embedder: Embedder, features: np.ndarray, row: int | None
) -> web.Response:
    gallery = tracks.gallery
    judge = Judge.of(gallery, embedder, request.app[_SHOWN].prior)
    least = asked_number(request, "min_probability", float, 0, 0.0)
    domain = request.query.get("query_domain") if row is None else str(gallery.table["domain"].iloc[row])
    top = asked_number(request, "top", int, 1, 24) or 1
    if top > MOST:
        raise ValueError(f"top is {top}, expected at most {MOST}.")
    threshold = asked_number(request, "threshold", float, -1, -1.0)
    names = {name: request.query.getall(name, []) for name in ("domain", "colour", "type")}
    times = (request.query.get(name) for name in ("after", "before"))
    after, before = (gallery.parse_time(time) if time else None for time in times)
    filters = Filters(camera=asked_cameras(request), after=after, before=before, **names)
    if asks_for_tracks(request):
        found = await asyncio.to_thread(tracks.search, features, top, filters, threshold, row)
        asked = None if row is None else TrackHit(row=row, score=1.0, rows=tracks.rows_of(row))
        query = None if asked is None else _plain_track(gallery, asked)
        picture = features[0] if row is None else gallery.features[row]
        found = found if judge is None else judge.judged(found, domain, picture)
        return _results(query, found, least, lambda hit: _plain_track(gallery, hit))
    # A picture of the gallery would find itself first.
    wanted = top if row is None else top + 1
    (hits,) = await asyncio.to_thread(gallery.search, features, wanted, filters, threshold)
    shown = [hit for hit in hits if hit.row != row][:top]
    shown = shown if judge is None else judge.judged(shown, domain)
    query = None if row is None else _plain(gallery, Hit(row, 1.0))
    return _results(query, shown, least, lambda hit: _plain(gallery, hit))


def _results(query: Any, found: list[H], least: float, plain: Callable[[H], dict[str, Any]]) -> web.Response:
    """The answer: what is probable enough, and whether the vehicle is there at all."""
    hits = [plain(hit) for hit in at_least(found, least)]
    return web.json_response({"query": query, "not_in_gallery": not_in_gallery(found), "hits": hits})


def _plain(gallery: Gallery, hit: Hit) -> dict[str, Any]:
    """For JSON; with the path below the gallery's folder, not where that lies on this machine."""
    facts = gallery.describe(hit.row) | {"path": gallery.table.loc[hit.row, "path"]}
    video = video_at([*gallery.videos.values()], facts["camera"], facts["timestamp"])
    played = None if video is None else {"number": video[0], "second": video[1]}
    number = int(gallery.numbers[hit.row])
    told = {"score": round(hit.score, 4), "probability": hit.probability, "video": played}
    return {"row": number, "rows": [number]} | told | facts


def _plain_track(gallery: Gallery, hit: TrackHit) -> dict[str, Any]:
    """For JSON: the image most like the query, and when the track begins and ends."""
    return _plain(gallery, hit) | track_times(gallery, hit) | {"rows": gallery.numbers[hit.rows].tolist()}


async def _video(request: web.Request) -> web.StreamResponse:
    number = int(request.match_info["number"])
    tracks, _ = await request.app[_SHOWN].now()
    video = tracks.gallery.videos.get(number)
    if video is None or not video.path.is_file():
        raise web.HTTPNotFound(text=f"The video {number} is not here.")
    return web.FileResponse(video.path)


async def _picture(request: web.Request) -> web.Response:
    tracks, _ = await request.app[_SHOWN].now()
    gallery = tracks.gallery
    try:
        row = gallery.row_of(int(request.match_info["row"]))
    except ValueError as error:
        raise web.HTTPNotFound(text=str(error)) from error
    content = await asyncio.to_thread(_thumbnail, gallery, row)
    return web.Response(body=content, content_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})


def _thumbnail(gallery: Gallery, row: int) -> bytes:
    image = gallery.image(row)
    scale = min(1.0, _SIDE / max(image.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1].tobytes()
