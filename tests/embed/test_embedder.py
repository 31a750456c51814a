"""Images to embeddings."""

import shutil

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from src.data import DataError, read_image
from src.embed import Embedder, image_files
from src.evaluation import evaluation_run as evaluation
from src.retrieval import read_embeddings
from src.runtime.errors import ConfigError

METHODS = [
    ("method=bot",),
    ("method=vehiclenet",),
    ("method=dfr_st", "transforms.size=64"),
    ("method=attribute_guided", "method.dimension=64"),
    ("method=dndm",),
    ("method=dndm", "method.awareness_at_test=own", "method.structure_stages=[]"),
    ("method=dndm_released", "backbone=resnet50", "backbone.name=resnet18", "backbone.weights=null"),
]


@pytest.fixture
def cars(quickstart, tmp_path):
    """A data set of 12 images of the quickstart set, every other one of the night."""
    folder = tmp_path / "cars"
    folder.mkdir()
    lines = ["path,vehicle_id,camera_id,split,domain"]
    for time in ("day", "night"):
        for number, image in enumerate(sorted((quickstart / time).rglob("*.jpg"))[:6]):
            shutil.copy(image, folder / f"{number}_{time}.jpg")
            lines.append(f"{number}_{time}.jpg,{number // 2},{number % 2},test,{time}")
    (folder / "table.csv").write_text("\n".join(lines))
    return folder


def test_a_checkpoint_is_tested_with_other_options_than_it_was_trained_with(composed, untrained, cars, tmp_path):
    checkpoint = untrained("method=dndm", "method.structure_stages=[]")
    saved = torch.load(checkpoint, weights_only=True)
    for name, value in saved["state_dict"].items():
        if name.endswith("running_map"):
            value.fill_(0.4)
        if name == "network.classifier.weight":
            value.normal_()
    torch.save(saved, checkpoint)
    source = ("data=csv", f"data.root={cars}", "workers=0", "retrieval.top_k=2", f"checkpoint={checkpoint}")
    found = {}
    for at_test in (None, "mean", "own"):
        folder = tmp_path / str(at_test)
        override = [] if at_test is None else [f"method.awareness_at_test={at_test}", "explain=3"]
        evaluation.run(composed(*source, f"paths.run_dir={folder}", *override, config="evaluate"))
        assert (folder / "figures/explain.png").exists() == (at_test is not None)
        stored = read_embeddings(folder / "embeddings")
        assert stored.meta.method == {"awareness_at_test": at_test or "none"}
        files = [cars / path for path in stored.table["path"]]
        embed = Embedder(checkpoint, options={"awareness_at_test": at_test})
        np.testing.assert_allclose(embed(files, stored.table["domain"].tolist()), stored.features.numpy(), atol=1e-5)
        found[at_test] = stored.features
    assert not torch.isclose(found[None], found["mean"]).all()
    assert not torch.isclose(found["own"], found["mean"]).all()

    with pytest.raises(
        ConfigError, match=r"method\.embedding is no option of DNDM at test, which has method\.awareness"
    ):
        evaluation.run(composed(*source, "method.embedding=concat", config="evaluate"))
    plain = untrained("method=dndm", "method.glare=false", "method.structure_stages=[]", "method.awareness_stages=[]")
    with pytest.raises(ConfigError, match="this DNDM has none of them; attention=2 draws where"):
        evaluation.run(composed(*source[:-1], f"checkpoint={plain}", "explain=2", config="evaluate"))
    with pytest.raises(ConfigError, match="awareness_at_test is 'half', expected none, mean or own"):
        Embedder(checkpoint, options={"awareness_at_test": "half"})
    embeddings = f"embeddings={tmp_path}/mean/embeddings"
    with pytest.raises(ConfigError, match="made already: data, method, contamination"):
        evaluation.run(composed(embeddings, "method.awareness_at_test=own", config="evaluate"))


@pytest.mark.parametrize("overrides", METHODS, ids=lambda overrides: overrides[0].removeprefix("method="))
def test_embeddings_are_those_of_evaluate(composed, untrained, cars, tmp_path, overrides):
    checkpoint = untrained(*overrides, "retrieval.flip=true")
    options = ("data=csv", f"data.root={cars}", f"paths.run_dir={tmp_path}/out", "workers=0", "retrieval.top_k=2")
    evaluation.run(composed(f"checkpoint={checkpoint}", *options, "eval_batch_size=5", config="evaluate"))
    stored = read_embeddings(tmp_path / "out/embeddings")
    files = [cars / path for path in stored.table["path"]]
    domains = stored.table["domain"].tolist()
    found = Embedder(checkpoint, batch_size=5, workers=2)(files, domains)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, stored.features.numpy())
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    # Nothing depends on the batch an image is in.
    np.testing.assert_allclose(Embedder(checkpoint, batch_size=12)(files, domains), found, atol=1e-5)


def test_paths_folders_pictures_and_arrays_are_the_same(untrained, cars):
    embed = Embedder(untrained("method=bot"), batch_size=4)
    files = sorted(cars.glob("*.jpg"))
    expected = embed(files)
    assert expected.shape == (12, 1280)
    np.testing.assert_array_equal(embed(cars), expected)
    np.testing.assert_array_equal(embed(str(files[3])), embed([files[3]]))
    arrays = [read_image(file) for file in files]
    np.testing.assert_array_equal(embed(arrays), expected)
    twice = embed(np.stack([arrays[0]] * 2))
    np.testing.assert_allclose(twice[1], embed(arrays[0])[0], atol=1e-5)  # another batch size, another rounding
    opened = Image.open(files[2])
    np.testing.assert_allclose(embed(opened), embed(files[2]), atol=2e-2)  # two JPEG decoders
    np.testing.assert_array_equal(np.concatenate([*embed.batches(files)]), expected)
    left = embed(files[0], boxes=["0 0 20 30"])
    np.testing.assert_array_equal(left, embed(arrays[0][:30, :20]))


def test_files_in_memory_are_the_same(untrained, cars):
    embed = Embedder(untrained("method=bot"), batch_size=4)
    files = sorted(cars.glob("*.jpg"))
    expected = embed(files)
    np.testing.assert_array_equal(embed([file.read_bytes() for file in files]), expected)
    np.testing.assert_array_equal(embed(files[3].read_bytes()), embed(files[3]))
    with pytest.raises(DataError, match="image 1 in memory is damaged or no picture"):
        embed([files[0], b"no picture"])
    with pytest.raises(DataError, match="image 0 in memory is empty"):
        embed(b"")


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_grey_pictures_of_16_bits_are_the_same_in_memory(untrained, tmp_path, ending):
    embed = Embedder(untrained("method=bot"))
    grey = (np.random.default_rng(0).integers(0, 2**16, (40, 50)) // 3).astype(np.uint16)
    file = tmp_path / f"grey.{ending}"
    assert cv2.imwrite(str(file), grey)
    with Image.open(file) as picture:
        assert picture.mode.startswith("I;16")
        np.testing.assert_array_equal(embed(picture), embed(file))
    np.testing.assert_array_equal(embed(Image.fromarray(grey)), embed(file))
    eight = np.repeat((grey >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(embed(eight), embed(file))
    for mode in ("I", "F"):
        with pytest.raises(ValueError, match=f"mode {mode}, which does not say what is white; convert it to L or RGB"):
            embed(Image.fromarray((grey >> 8).astype({"I": np.int32, "F": np.float32}[mode])))


@pytest.mark.parametrize("wrong", [7, None, 3.5, {"car.jpg": 1}, torch.zeros(3, 8, 8), [7], [None], (7, "car.jpg")])
def test_what_is_no_image_is_said(untrained, wrong):
    with pytest.raises(ValueError, match=r"There is a|Image 0 is a .*, expected a path, bytes of a file, a PIL image"):
        Embedder(untrained("method=bot"))(wrong)


def test_a_tilde_is_the_home_folder(untrained, cars, monkeypatch):
    checkpoint = untrained("method=bot")
    monkeypatch.setenv("HOME", str(checkpoint.parent.parent))
    found = Embedder("~/untrained/last.ckpt")(["~/cars/0_day.jpg"])
    np.testing.assert_array_equal(found, Embedder(checkpoint)(cars / "0_day.jpg"))


def test_half_precision_is_close(untrained, cars):
    checkpoint = untrained("method=bot")
    full, half = (Embedder(checkpoint, precision=precision)(cars) for precision in ("32-true", "bf16-mixed"))
    assert half.dtype == np.float32
    assert not np.array_equal(full, half)
    np.testing.assert_allclose((full * half).sum(axis=1), 1, atol=5e-3)


def test_the_domain_matters_to_methods_that_look_at_it(untrained, cars):
    embed = Embedder(untrained("method=dndm", "method.alpha=1"))
    night = sorted(cars.glob("*_night.jpg"))
    assert embed.needs_domain
    assert not np.array_equal(embed(night, "night"), embed(night, "day"))
    with pytest.raises(ValueError, match="DNDM must know which images are of the night"):
        embed(night)
    with pytest.raises(ValueError, match="domain is 'dusk'"):
        embed(night, "dusk")
    with pytest.raises(ValueError, match="6 images, 2 domains"):
        embed(night, ["day", "night"])
    assert not Embedder(untrained("method=dndm", "method.glare=false")).needs_domain


def test_the_classifier_is_gone(untrained):
    for overrides in METHODS[:-2]:
        names = Embedder(untrained(*overrides)).method.state_dict()
        assert not [name for name in names if ".classifier." in f".{name}"]
    # Class maps of an image's own class, and of the released code, are those of the classifier.
    assert (
        "network.classifier.weight"
        in Embedder(untrained("method=dndm", "method.awareness_at_test=own")).method.state_dict()
    )
    assert "network.neck.classifier.weight" in Embedder(untrained(*METHODS[-1])).method.state_dict()


def test_what_cannot_be_embedded_is_named(untrained, cars, tmp_path):
    checkpoint = untrained("method=bot")
    embed = Embedder(checkpoint, workers=3)
    broken = cars / "2_day.jpg"
    broken.write_bytes(broken.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"2_day\.jpg is cut off"):
        embed(cars)
    with pytest.raises(DataError, match="nowhere"):
        embed("nowhere.jpg")
    with pytest.raises(ValueError, match="There is no image"):
        embed([])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no image"):
        embed(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"array \(4, 5\) of float64"):
        embed(np.zeros((4, 5)))
    with pytest.raises(ValueError, match="in memory and has a box"):
        embed(np.zeros((4, 5, 3), np.uint8), boxes=["0 0 1 1"])
    for wrong in ({"batch_size": 0}, {"workers": 0}, {"precision": "8-bit"}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
            Embedder(checkpoint, **wrong)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="torch sees no GPU"):
            Embedder(checkpoint, device="cuda")


def test_hidden_files_are_no_images(tmp_path):
    for name in ("b.JPG", "a/c.png", ".d.jpg", ".e/f.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path)] == ["a/c.png", "b.JPG"]
