"""The page's server, through its HTTP interface."""

import asyncio
import io
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image
from torch.nn import functional as F

from src.data import make_table, read_image
from src.gallery import Gallery
from src.gallery.cameras import Camera
from src.gallery.gallery_changes import Changes
from src.gallery.gallery_meta import GalleryMeta
from src.gallery.living import LivingGallery
from src.gallery.page import make_app
from src.gallery.videos import GalleryVideo
from src.retrieval import Embeddings
from src.retrieval.probabilities.calibration import Calibration, EvidenceCurve, Fit
from tests.gallery.made_up import make, table

N = 12


class Looker:
    """Embeds an image as its pixels, shrunk; by night, mirrored."""

    needs_domain = True
    calibration = None

    def __call__(self, image, domain):
        small = cv2.resize(image, (4, 4), interpolation=cv2.INTER_AREA).astype(np.float32) - 110
        if domain == "night":
            small = small[:, ::-1]
        elif domain != "day":
            raise ValueError("This method must know which images are of the night.")
        return F.normalize(torch.from_numpy(small.reshape(1, -1).copy())).numpy()


@pytest.fixture
def gallery(quickstart_veri):
    """Twelve images; the last one does not say where and when."""
    files = sorted((quickstart_veri / "image_test").glob("*.jpg"))[: N * 5 : 5]
    columns = {
        "path": [f"image_test/{file.name}" for file in files],
        "split": "gallery",
        "camera_id": [*(1 + i % 3 for i in range(N - 1)), -1],
        "timestamp": [*range(100, 100 + N - 1), float("nan")],
        "colour": ["red", "white"] * (N // 2),
        "domain": "day",
    }
    table = make_table(quickstart_veri, "cars", columns)
    features = np.concatenate([Looker()(read_image(file), "day") for file in files])
    meta = GalleryMeta(cameras={1: Camera("<b>Gate</b>", 1.0, 2.0)})
    return Gallery(Embeddings(torch.from_numpy(features), np.arange(N), table, None, meta))


@pytest.fixture
def ask(gallery):
    """Sends requests to a running server; returns status, headers and body."""
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(make_app(gallery, Looker(), max_upload_mb=0.5, max_megapixels=1))
    loop.run_until_complete(runner.setup())
    site = web.TCPSite(runner, "127.0.0.1", 0)
    loop.run_until_complete(site.start())
    port = runner.addresses[0][1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def send(path, body=None, headers=None, **query):
        text = urllib.parse.urlencode(query, doseq=True)
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}?{text}", data=body, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    yield send
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(runner.cleanup())
    loop.close()


def rows(answer):
    status, _, body = answer
    assert status == 200, body
    return [hit["row"] for hit in json.loads(body)["hits"]]


def refused(answer, status):
    assert answer[0] == status
    return json.loads(answer[2])["error"]


def picture(gallery, row):
    buffer = io.BytesIO()
    Image.fromarray(gallery.image(row)).save(buffer, "PNG")
    return buffer.getvalue()


def nearest(gallery, feature):
    return np.argsort(-(gallery.features @ feature), kind="stable").tolist()


def test_an_uploaded_picture_finds_its_like(ask, gallery):
    answer = ask("/api/search", picture(gallery, 4), query_domain="day", top=5)
    assert rows(answer) == nearest(gallery, gallery.features[4])[:5]
    first = json.loads(answer[2])["hits"][0]
    assert first["score"] == pytest.approx(1, abs=1e-3)
    assert (first["camera"], first["timestamp"], first["colour"]) == (2, 104, "red")
    assert first["path"] == gallery.table.loc[4, "path"]
    by_night = ask("/api/search", picture(gallery, 4), query_domain="night", top=5)
    assert rows(by_night) == nearest(gallery, Looker()(gallery.image(4), "night")[0])[:5]
    assert "must know" in refused(ask("/api/search", picture(gallery, 4)), 400)


def test_a_result_is_searched_on_without_finding_itself(ask, gallery):
    answer = ask("/api/search", row=7, top=6)
    assert rows(answer) == [row for row in nearest(gallery, gallery.features[7]) if row != 7][:6]
    assert json.loads(answer[2])["query"]["row"] == 7
    assert len(rows(ask("/api/search", row=7, top=100))) == N - 1


def test_filters_and_threshold(ask, gallery):
    order = [row for row in nearest(gallery, gallery.features[0]) if row != 0]
    camera, time = (gallery.table[name] for name in ("camera_id", "timestamp"))
    assert rows(ask("/api/search", row=0, camera=[2, 3])) == [row for row in order if camera[row] in (2, 3)]
    assert rows(ask("/api/search", row=0, after=103, before=108)) == [row for row in order if 103 <= time[row] <= 108]
    assert rows(ask("/api/search", row=0, colour="white", camera=1)) == [
        row for row in order if camera[row] == 1 and row % 2
    ]
    scores = gallery.features @ gallery.features[0]
    assert rows(ask("/api/search", row=0, threshold=0.5)) == [row for row in order if scores[row] >= 0.5]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"row": 99}, "no image 99, the last is 11"),
        ({"row": "one"}, "row is 'one', expected a number"),
        ({}, "row is None"),
        ({"row": 0, "camera": 9}, "camera is 9, but the gallery has 1, 2, 3"),
        ({"row": 0, "camera": "x"}, "expected numbers"),
        ({"row": 0, "top": 0}, "top is 0, expected at least 1"),
        ({"row": 0, "top": 1000}, "at most 200"),
        ({"row": 0, "threshold": "nan"}, "threshold is nan"),
        ({"row": 0, "after": "noon"}, "'noon' is no time"),
    ],
)
def test_wrong_searches_are_answered_in_a_sentence(ask, query, sentence):
    assert sentence in refused(ask("/api/search", **query), 400)


def test_uploads_are_limited_and_checked(ask, gallery):
    assert "no picture in the request" in refused(ask("/api/search", b""), 400)
    assert "is no picture" in refused(ask("/api/search", b"<svg></svg>"), 400)
    assert "damaged or cut off" in refused(ask("/api/search", picture(gallery, 0)[:-500]), 400)
    assert "size" in refused(ask("/api/search", b"x" * 2**20), 413)
    large = io.BytesIO()
    Image.new("1", (2000, 1000)).save(large, "PNG")
    assert len(large.getvalue()) < 5000
    assert "2000 × 1000 pixels, at most 1 megapixels" in refused(ask("/api/search", large.getvalue()), 400)
    bomb = io.BytesIO()
    Image.new("1", (20000, 20000)).save(bomb, "PNG")
    assert "far too large" in refused(ask("/api/search", bomb.getvalue()), 400)
    gif = io.BytesIO()
    Image.new("L", (8, 8)).save(gif, "GIF")
    assert "JPEG, PNG, WEBP, BMP are taken" in refused(ask("/api/search", gif.getvalue()), 400)


def test_the_gallery_is_described(ask):
    said = json.loads(ask("/api/gallery")[2])
    assert said["count"] == N
    assert [camera["id"] for camera in said["cameras"]] == [1, 2, 3]
    assert said["cameras"][0]["name"] == "<b>Gate</b>"
    assert said["cameras"][0]["place"] == [1.0, 2.0]
    assert said["cameras"][1] == {"id": 2, "name": "Camera 2", "place": None}
    assert said["times"] == [100, 100 + N - 2]
    assert said["colours"] == ["red", "white"]
    assert said["needs_domain"] is True


def test_pictures_are_small_jpegs(ask, gallery, quickstart_veri):
    status, headers, body = ask("/api/images/3")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    shown = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    assert max(shown.shape) <= 320
    difference = shown[..., ::-1].astype(float) - cv2.resize(gallery.image(3), shown.shape[1::-1])
    assert np.abs(difference).mean() < 10
    assert "no image 99" in refused(ask("/api/images/99"), 404)
    for path in ("/api/images/../../etc/passwd", "/api/images/-1", "/../conftest.py", "/static/page.js"):
        assert ask(path)[0] == 404


def test_the_page_brings_all_it_needs_and_nothing_from_elsewhere(ask):
    for path, kind in (("/", "text/html"), ("/page.js", "text/javascript"), ("/style.css", "text/css")):
        status, headers, body = ask(path)
        assert status == 200
        assert headers["Content-Type"].startswith(kind)
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        outside = body.decode().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in outside
        assert "https://" not in outside
        assert "innerHTML" not in outside  # names come from files of strangers


def test_other_host_names_are_refused_on_this_machine(ask, gallery):
    assert "for this machine alone" in refused(ask("/", headers={"Host": "example.org"}), 403)
    assert ask("/", headers={"Host": "localhost:80"})[0] == 200
    everywhere = make_app(gallery, Looker(), host="0.0.0.0")
    assert len(everywhere.middlewares) == 1


@pytest.fixture
def with_tracks(gallery, tmp_path):
    """The twelve images as six tracks of two, cropped from a video that starts at 100 s."""
    gallery.table["track_id"] = [row // 2 for row in range(N)]
    gallery.meta = replace(gallery.meta, time_unit="unix")
    video = tmp_path / "a.mp4"
    video.write_bytes(bytes(range(256)) * 8)
    gallery.videos = {5: GalleryVideo(5, video, 1, 100.0, 60.0)}
    gallery.links = {0: 8, 3: 8}
    return gallery


def test_results_are_grouped_by_track(with_tracks, ask):
    answer = json.loads(ask("/api/search", row=0, by="track", top=9)[2])
    assert len(answer["hits"]) == 5
    assert answer["query"]["rows"] == [0, 1]
    assert answer["query"]["global_id"] == 8
    means = [with_tracks.features[[row, row + 1]].mean(axis=0) for row in range(0, N, 2)]
    scores = [mean @ means[0] / np.linalg.norm(mean) / np.linalg.norm(means[0]) for mean in means]
    order = [track for track in np.argsort(-np.array(scores), kind="stable").tolist() if track != 0]
    assert [hit["rows"] for hit in answer["hits"]] == [[2 * track, 2 * track + 1] for track in order]
    for hit, track in zip(answer["hits"], order, strict=True):
        assert hit["score"] == pytest.approx(scores[track], abs=1e-3)
        assert hit["row"] in hit["rows"]
        if track < 5:  # the last image has no time
            assert hit["time"] == f"1970-01-01 00:01:{40 + 2 * track} – 00:01:{41 + 2 * track}"
        assert hit["global_id"] == (8 if track == 3 else None)
    assert "by is 'car', expected image or track" in refused(ask("/api/search", row=0, by="car"), 400)
    uploaded = ask("/api/search", picture(with_tracks, 4), query_domain="day", by="track", top=1)
    assert json.loads(uploaded[2])["hits"][0]["rows"] == [4, 5]


def test_a_video_is_played_from_its_second(with_tracks, ask):
    hits = json.loads(ask("/api/search", row=1, top=20)[2])["hits"]
    played = {hit["row"]: hit["video"] for hit in hits}
    assert played[3] == {"number": 5, "second": 3.0}
    assert played[2] is None  # of another camera
    status, headers, body = ask("/api/videos/5", headers={"Range": "bytes=10-13"})
    assert (status, headers["Content-Type"], body) == (206, "video/mp4", bytes([10, 11, 12, 13]))
    assert "media-src 'self'" in headers["Content-Security-Policy"]
    assert "The video 6 is not here" in refused(ask("/api/videos/6"), 404)
    with_tracks.videos[5].path.unlink()
    assert "The video 5 is not here" in refused(ask("/api/videos/5"), 404)
    assert json.loads(ask("/api/search", row=1, top=20)[2])["hits"][0]["video"] is None


def test_a_page_shows_what_its_folder_has_now(tmp_path):
    """Added, deleted: in the next answer, under numbers that stay."""
    out, embeds = make(tmp_path, range(6))

    async def look(client, **query):
        async with client.get("/api/search", params={key: str(value) for key, value in query.items()}) as answer:
            return answer.status, await answer.json()

    async def visit():
        living = LivingGallery(Gallery.open(out), out, embeds)
        async with TestClient(TestServer(make_app(living, embeds))) as client:
            status, found = await look(client, row=5)
            assert status == 200
            assert sorted(hit["row"] for hit in found["hits"]) == [0, 1, 2, 3, 4]
            Changes(out).add(table([6]), embeds)
            Changes(out).delete(lambda records: records["path"].isin(["2.jpg", "4.jpg"]).to_numpy())
            _, found = await look(client, row=5)
            assert sorted(hit["row"] for hit in found["hits"]) == [0, 1, 3, 6]
            assert {hit["row"]: hit["path"] for hit in found["hits"]}[6] == "6.jpg"
            status, said = await look(client, row=4)
            assert (status, said["error"]) == (400, "The image 4 was deleted.")
            async with client.get("/api/images/4") as answer:
                assert answer.status == 404

    asyncio.run(visit())


def test_probabilities_are_said_and_can_be_asked_for(ask, monkeypatch):
    assert json.loads(ask("/api/gallery")[2])["probabilities"] is None
    assert {hit["probability"] for hit in json.loads(ask("/api/search", row=0)[2])["hits"]} == {None}
    fit = Fit("logistic", "put aside", 9, 90, 100, 900, 2.0, {})
    monkeypatch.setattr(Looker, "calibration", Calibration(EvidenceCurve((-1.0, 1.0), (-9.0, 9.0)), {}, fit))
    assert "prior=0.17" in json.loads(ask("/api/gallery")[2])["probabilities"]
    for by in ("image", "track"):
        answer = json.loads(ask("/api/search", row=0, by=by)[2])
        for hit in answer["hits"]:
            odds = np.exp(9 * hit["score"]) / 5  # 2 of 12
            assert hit["probability"] == pytest.approx(odds / (1 + odds), abs=1e-3)
        best = max(hit["probability"] for hit in answer["hits"])
        assert answer["not_in_gallery"] is (best < 0.5)
        likely = json.loads(ask("/api/search", row=0, by=by, min_probability=best - 1e-6)[2])["hits"]
        assert [hit["row"] for hit in likely] == [answer["hits"][0]["row"]]
    assert "at least 0" in refused(ask("/api/search", row=0, min_probability=-1), 400)


def test_the_probability_of_a_track_is_that_of_its_image_most_like_the_query(with_tracks, ask, monkeypatch):
    fit = Fit("logistic", "put aside", 9, 90, 100, 900, 2.0, {})
    calibration = Calibration(EvidenceCurve((-1.0, 1.0), (-9.0, 9.0)), {}, fit)
    monkeypatch.setattr(Looker, "calibration", calibration)
    hits = json.loads(ask("/api/search", row=1, by="track", top=9)[2])["hits"]
    assert len(hits) == 5
    for hit in hits:
        score = float(with_tracks.features[hit["row"]] @ with_tracks.features[1])
        assert hit["probability"] == pytest.approx(float(calibration.probability(score, 2 / N)), abs=1e-6)
    uploaded = json.loads(ask("/api/search", picture(with_tracks, 4), query_domain="day", by="track", top=1)[2])
    assert uploaded["hits"][0]["probability"] == pytest.approx(float(calibration.probability(1.0, 2 / N)), abs=1e-3)
