"""The search command."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from src.embed import Embedder
from src.gallery import Gallery, build, query
from src.gallery.links import write_links
from src.runtime.errors import ConfigError


@pytest.fixture
def gallery(composed, untrained, quickstart_veri, tmp_path):
    """An index of the queries of the small VeRi set, and its images."""
    checkpoint = untrained("method=bot", "transforms.size=32", "retrieval.flip=true")
    options = ("data=quickstart_veri", "splits=[query]", f"out={tmp_path / 'gallery'}", "time_unit=frames")
    build.run(composed(f"checkpoint={checkpoint}", *options, config="index"))
    return tmp_path / "gallery", sorted((quickstart_veri / "image_query").glob("*.jpg"))


@pytest.fixture
def find(composed, gallery):
    def run(*overrides):
        return query.run(composed(f"index={gallery[0]}", *overrides, config="search"))

    return run


def test_a_picture_finds_itself_first(find, gallery, tmp_path, capsys):
    _, images = gallery
    queries = [images[5], images[2]]
    out = (f"json={tmp_path}/out.json", f"picture={tmp_path}/figures/out.png")
    find(f"query=[{queries[0]},{queries[1]}]", "top=4", *out)
    written = json.loads((tmp_path / "out.json").read_text())
    for image, entry in zip(queries, written, strict=True):
        assert entry["query"] == str(image)
        assert [hit["rank"] for hit in entry["hits"]] == [1, 2, 3, 4]
        assert entry["hits"][0]["path"] == str(image)
        assert entry["hits"][0]["score"] == pytest.approx(1, abs=1e-5)
        assert entry["hits"][0]["camera"] == int(image.name.split("_c")[1][:3])
        scores = [hit["score"] for hit in entry["hits"]]
        assert scores == sorted(scores, reverse=True)
    picture = cv2.imread(str(tmp_path / "figures/out.png"))
    assert picture.shape[1] > picture.shape[0] > 200
    assert "frames" in capsys.readouterr().out


def test_filters_are_exact(find, gallery):
    folder, images = gallery
    embed = Embedder(folder.parent / "untrained/last.ckpt")
    features = embed(images)
    (found,) = find(f"query={images[0]}", "top=100", "camera=[2,3]", "after=900000")
    names = [image.name for image in images]
    wanted = [i for i, n in enumerate(names) if int(n[6:9]) in (2, 3) and int(n[10:18]) >= 900000]
    assert 0 < len(wanted) < len(names)
    expected = sorted(wanted, key=lambda i: -float(features[0] @ features[i]))
    listed = names_of(folder, found)
    assert [names[i] for i in expected] == listed
    (dated,) = find(f"query={images[0]}", "top=100", "camera=[2,3]", "after=1970-01-11T10:00")  # 900,000 s
    assert dated == found
    (few,) = find(f"query={images[0]}", "top=100", "camera=2", "threshold=0.9")
    assert all(hit.score >= 0.9 for hit in few)


def names_of(folder, hits):
    table = Gallery.open(folder).table
    return [table.loc[hit.row, "path"].rpartition("/")[2] for hit in hits]


@pytest.mark.parametrize(
    ("option", "found"),
    [
        ("type=3008", ["3008"]),
        ("type=[3008,1e5]", ["1e5", "3008"]),
        ("type=true", ["true"]),
        ("type=1e5", ["1e5"]),
        ("type=null", ["null"]),
        ("type=[]", ["1e5", "3008", "null", "suv", "true"]),
        ("colour=null", ["1e5", "3008", "null", "suv", "true"]),  # which nothing is called
        ("camera=03", ["suv"]),
        ("camera=[03,0]", ["3008", "suv"]),
        ("after=20251128", ["null", "suv"]),
        ("before=20251126", ["3008", "true"]),
        ("before=2025-11-26T12:00", ["3008", "true"]),
        ("before=1764072000", ["3008"]),
    ],
)
def test_filters_mean_what_was_typed(numeric, composed, capsys, option, found):
    folder, image = numeric
    (hits,) = query.run(composed(f"index={folder}", f"query={image}", "top=9", option, config="search"))
    table = Gallery.open(folder).table
    assert sorted(table.loc[hit.row, "type"] for hit in hits) == found


@pytest.fixture
def numeric(composed, untrained, quickstart_veri, tmp_path):
    """An index of five images whose types YAML reads as something else, a day apart, and one of them."""
    images = sorted((quickstart_veri / "image_query").glob("*.jpg"))[:5]
    (tmp_path / "cars").mkdir()
    lines = ["path;type;camera_id;timestamp"]
    for number, (image, name) in enumerate(zip(images, ["3008", "true", "1e5", "null", "suv"], strict=True)):
        shutil.copy(image, tmp_path / "cars" / f"{number}.jpg")
        lines.append(
            f"{number}.jpg;{name};{[0, 1, 2, 2, 3][number]};{1764028800 + 86400 * number}"
        )  # from 2025-11-25 on
    (tmp_path / "cars" / "table.csv").write_text("\n".join(lines))
    options = (f"images={tmp_path}/cars/table.csv", f"out={tmp_path / 'numeric'}", "time_unit=unix")
    build.run(composed(f"checkpoint={untrained('method=bot')}", *options, config="index"))
    return tmp_path / "numeric", tmp_path / "cars" / "0.jpg"


def test_a_folder_is_a_list_of_queries(find, gallery, tmp_path):
    (tmp_path / "queries").mkdir()
    for image in gallery[1][:3]:
        shutil.copy(image, tmp_path / "queries")
    found = find(f"query={tmp_path}/queries", "top=1")
    assert [names_of(gallery[0], hits) for hits in found] == [[image.name] for image in gallery[1][:3]]


def test_tracks_are_found_instead_of_images(composed, untrained, quickstart_veri, tmp_path, capsys):
    """Against means of the embedder's features, one track after the other."""
    images = sorted((quickstart_veri / "image_test").glob("*.jpg"))[:40:8]
    checkpoint = untrained("method=bot", "transforms.size=32")
    (tmp_path / "cars").mkdir()
    tracks, times = {2: [0, 3], 5: [1, 2], None: [4]}, [30, 10, 20, 40, 5]
    track_of = {number: track for track, members in tracks.items() for number in members}
    lines = ["path;track_id;timestamp"]
    for number, image in enumerate(images):
        shutil.copy(image, tmp_path / "cars" / f"{number}.jpg")
        lines.append(f"{number}.jpg;{'' if track_of[number] is None else track_of[number]};{times[number]}")
    (tmp_path / "cars" / "table.csv").write_text("\n".join(lines))
    options = (f"images={tmp_path}/cars/table.csv", f"out={tmp_path / 'gallery'}", "time_unit=s")
    build.run(composed(f"checkpoint={checkpoint}", *options, config="index"))

    asked = (f"index={tmp_path / 'gallery'}", f"query={images[1]}", "by=track", f"json={tmp_path}/out.json")
    (hits,) = query.run(composed(*asked, config="search"))
    printed = capsys.readouterr().out
    features = Embedder(checkpoint)(images)
    expected = []
    for members in tracks.values():
        mean = features[members].mean(axis=0)
        score = float(features[1] @ mean / np.linalg.norm(mean))
        expected.append((score, sorted(members, key=lambda number: times[number])))
    expected.sort(reverse=True)
    (written,) = json.loads((tmp_path / "out.json").read_text())
    assert len(hits) == len(written["hits"]) == 3
    for hit, entry, (score, members) in zip(hits, written["hits"], expected, strict=True):
        assert hit.score == entry["score"] == pytest.approx(score, abs=1e-5)
        assert [int(Path(path).stem) for path in entry["images"]] == hit.rows == members
        assert (entry["first"], entry["last"]) == (times[members[0]], times[members[-1]])
        assert int(Path(entry["path"]).stem) == max(members, key=lambda number: float(features[1] @ features[number]))
    assert "10 – 20 s" in printed
    assert "images" in printed
    assert "global_id" not in printed
    write_links(tmp_path / "gallery", {2: 0, 5: 8})
    query.run(composed(*asked, config="search"))
    assert "global_id" in capsys.readouterr().out
    (written,) = json.loads((tmp_path / "out.json").read_text())
    for hit, entry in zip(hits, written["hits"], strict=True):
        assert entry["global_id"] == {2: 0, 5: 8, None: None}[track_of[hit.row]]
    (weighted,) = query.run(composed(*asked, "tracks=weighted", config="search"))
    assert weighted[0].score > hits[0].score


def test_a_gallery_without_tracks_cannot_be_searched_by_them(find, gallery):
    with pytest.raises(ConfigError, match=r"by is track, but no two images of the gallery are of one track"):
        find(f"query={gallery[1][0]}", "by=track")


def test_nothing_found_is_said(find, gallery, capsys):
    find(f"query={gallery[1][0]}", "after=1e9", "before=2e9")
    assert "nothing passes the filters" in capsys.readouterr().out.replace("\n", " ")


def test_wrong_searches_are_refused(find, gallery, untrained, tmp_path):
    image = gallery[1][0]
    with pytest.raises(ValueError, match="camera is 77, but the gallery has"):
        find(f"query={image}", "camera=77")
    with pytest.raises(ConfigError, match="top is 0"):
        find(f"query={image}", "top=0")
    shutil.move(tmp_path / "untrained", tmp_path / "moved")
    with pytest.raises(ConfigError, match=r"is not here; pass checkpoint="):
        find(f"query={image}")
    ((hit,),) = find(f"query={image}", "top=1", f"checkpoint={tmp_path}/moved/last.ckpt")
    assert hit.score == pytest.approx(1, abs=1e-5)
    other = untrained("method=vehiclenet", "transforms.size=32")
    with pytest.raises(ConfigError, match="is not the checkpoint that embedded the gallery"):
        find(f"query={image}", f"checkpoint={other}")
