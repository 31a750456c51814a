"""The label files of VeRi-776, CityFlow and VehicleX: one XML element an image."""

import re
from pathlib import Path
from xml.etree import ElementTree

from src.data.table import DataError

_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")


def read_items(path: Path, dataset: str) -> list[dict[str, str]]:
    """The attributes of each `<Item …/>`, in the order of the file.

    The files declare gb2312, which Python's XML parser refuses (`multi-byte encodings are not supported`), or UTF-8.
    The labels are ASCII either way: the declaration is dropped, and so are Chinese letters in comments.

    Args:
        path: The file.
        dataset: Name of the data set, for the message.

    Raises:
        DataError: If the file is missing, not XML, or an item has no `imageName`.
    """
    try:
        text = _DECLARATION.sub("", path.read_bytes().decode("utf-8-sig", errors="replace"), count=1)
        items = [dict(item.attrib) for item in ElementTree.fromstring(text).iter("Item")]
    except FileNotFoundError as error:
        raise DataError(
            f"Data set {dataset!r}: the label file {path} is missing; copy it from the data set's archive."
        ) from error
    except ElementTree.ParseError as error:
        raise DataError(
            f"Data set {dataset!r}: {path} is no label file ({error}); copy it from the data set's archive."
        ) from error
    if nameless := sum("imageName" not in item for item in items):
        raise DataError(
            f"Data set {dataset!r}: {nameless} of {len(items)} items of {path} have no imageName; copy it from the "
            "data set's archive."
        )
    return items


def item_number(path: Path, dataset: str, item: dict[str, str], attribute: str) -> int:
    """An integer attribute of an item; cameras are written `c012`.

    Args:
        path: The file, for the message.
        dataset: Name of the data set, for the message.
        item: One element of what `read_items` returned.
        attribute: `"vehicleID"`, `"cameraID"`, …

    Raises:
        DataError: If it is missing or no integer.
    """
    try:
        return int(item[attribute].removeprefix("c"))
    except (KeyError, ValueError) as error:
        raise DataError(
            f"Data set {dataset!r}: {path} is no label file: {attribute} of {item['imageName']} is "
            f"{item.get(attribute)!r}, expected a number; copy it from the data set's archive."
        ) from error
