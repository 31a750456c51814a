import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from src.data.images import read_image, read_mask
from src.data.table import DataError


def smooth(height: int = 24, width: int = 32) -> np.ndarray:
    """An image that JPEG hardly changes."""
    y, x = np.mgrid[:height, :width]
    return np.stack([4 * x + 60, 5 * y + 40, 2 * x + 3 * y + 20], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a b ü.webp"])
def test_colours_come_as_rgb(tmp_path, write_image, name):
    expected = write_image(tmp_path / "x.png")
    Image.fromarray(expected).save(tmp_path / name, lossless=True)
    found = read_image(tmp_path / name)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


def test_grey_and_transparent_and_deep_pictures(tmp_path):
    grey = smooth()[..., 0]
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.dstack([grey] * 3))
    Image.fromarray(np.dstack([smooth(), grey])).save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(read_image(tmp_path / "alpha.png"), smooth())
    cv2.imwrite(str(tmp_path / "deep.png"), smooth()[..., ::-1].astype(np.uint16) * 256 + 17)
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png"), smooth())
    Image.fromarray(grey > 100).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png")[..., 0], (grey > 100) * 255)


def test_cmyk_jpeg(tmp_path):
    Image.fromarray(smooth()).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    assert np.abs(read_image(tmp_path / "cmyk.jpg").astype(int) - smooth()).max() <= 6


def test_exif_rotation_is_applied(tmp_path):
    image = Image.fromarray(smooth())
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    image.save(tmp_path / "turned.jpg", exif=exif, quality=100, subsampling=0)
    found = read_image(tmp_path / "turned.jpg")
    expected = np.rot90(smooth(), -1)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 6


def test_box_is_cut_out_with_right_and_bottom_exclusive(tmp_path, write_image):
    image = write_image(tmp_path / "a.png", 12, 10)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", "2 3 7 9"), image[3:9, 2:7])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", "5 5 99 99"), image[5:, 5:])
    for box in ("10 0 20 5", "4 4 4 8", "6 4 2 8"):
        with pytest.raises(DataError, match=rf"box '{box}' misses the image .*a\.png of 10 × 12 pixels"):
            read_image(tmp_path / "a.png", box)


def test_masks_are_zero_and_one(tmp_path, write_image):
    grey = np.array([[0, 127, 128, 255]], dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "m.png"), grey)
    assert read_mask(tmp_path / "m.png").tolist() == [[0, 0, 1, 1]]
    assert read_mask(tmp_path / "m.png", "1 0 3 1").tolist() == [[0, 1]]


def jpeg_with_thumbnail() -> bytes:
    _, thumbnail = cv2.imencode(".jpg", smooth(8, 8))
    _, full = cv2.imencode(".jpg", smooth(64, 64))
    note = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail.tobytes()
    return full.tobytes()[:2] + note + full.tobytes()[2:]


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95, 0.999])
def test_cut_off_files_are_refused(tmp_path, share):
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for extension in (".jpg", ".png"):
        content = cv2.imencode(extension, noise)[1].tobytes()
        path = tmp_path / f"a{extension}"
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(DataError, match=rf"a\{extension} is (cut off|damaged)"):
            read_image(path)


def test_a_thumbnail_inside_does_not_hide_that_the_image_is_cut_off(tmp_path):
    content = jpeg_with_thumbnail()
    path = tmp_path / "a.jpg"
    path.write_bytes(content + b"\0" * 100)  # bytes behind the end are harmless
    assert read_image(path).shape == (64, 64, 3)
    path.write_bytes(content[:-20])
    with pytest.raises(DataError, match="is cut off in the middle"):
        read_image(path)


def test_what_is_no_picture_is_named(tmp_path):
    path = tmp_path / "a.jpg"
    with pytest.raises(DataError, match=r"a\.jpg cannot be read: No such file"):
        read_image(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.jpg is empty"):
        read_image(path)
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=r"a\.jpg is damaged or no picture"):
        read_image(path)
    header = b"\x89PNG\r\n\x1a\n"
    path.write_bytes(header + zlib.compress(b"nothing") + b"IEND")
    with pytest.raises(DataError, match=r"a\.jpg is damaged or no picture"):
        read_image(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_image(tmp_path)
