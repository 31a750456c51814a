"""Values of a search as a request has them."""

from typing import Any

from aiohttp import web


def asked_number(request: web.Request, name: str, kind: type, least: float, default: Any) -> Any:
    """A number; the default if there is none.

    Raises:
        ValueError: If it is none, or below the least.
    """
    text = request.query.get(name)
    if not text:
        return default
    try:
        value = kind(text)
    except ValueError as error:
        raise ValueError(f"{name} is {text!r}, expected a number.") from error
    if not value >= least:
        raise ValueError(f"{name} is {text}, expected at least {least}.")
    return value


def asked_cameras(request: web.Request) -> list[int]:
    """Numbers of the cameras to search.

    Raises:
        ValueError: If one is no number.
    """
    try:
        return [int(camera) for camera in request.query.getall("camera", [])]
    except ValueError as error:
        raise ValueError(f"camera is {request.query.getall('camera')}, expected numbers.") from error


def asks_for_tracks(request: web.Request) -> bool:
    """Whether results are tracks.

    Raises:
        ValueError: If they are neither these nor images.
    """
    by = request.query.get("by", "image")
    if by not in ("image", "track"):
        raise ValueError(f"by is {by!r}, expected image or track.")
    return by == "track"
