"""Identity mining as a command and as a stage: what is written, who can read it, and that no test label is in it."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.utils import instantiate
from torch.nn import functional as F

from src.checkpoints.checkpoint_file import load_checkpoint
from src.data import DataError, fingerprint
from src.data.datamodule import ReIDDataModule
from src.data.layouts import CSV, Pool
from src.data.layouts.extra import add_extra
from src.data.transforms.image_transforms import Transforms
from src.evaluation import evaluation_run as evaluation
from src.evaluation import pseudo_labels as mining
from src.retrieval import DataVersion, Embeddings, EmbeddingsMeta, Mining
from src.runtime.errors import ConfigError
from src.training import run as stages

N_VEHICLES = 6
OPTIONS = Mining(d_n=0.8, d_p=0.5, first=0)


@pytest.fixture
def cars(tmp_path):
    """A data set on disk: vehicles 1 to 3 to train on, six others to test on, one training image tested too."""
    rng = np.random.default_rng(0)
    lines = ["path,vehicle_id,split,camera_id,timestamp,colour,domain"]
    for number in range(72):
        vehicle = number % N_VEHICLES + 4
        split = "query" if number < 18 else "gallery"
        lines.append(f"{split}/{number}.jpg,{vehicle},{split},{number % 4},{number}.5,red,day")
    lines += [f"train/{number}.jpg,{number % 3 + 1},train,{number % 4},{number},blue,night" for number in range(9)]
    lines += ["gallery/0.jpg,4,gallery,0,0.5,red,day"]  # query 0 lies in the gallery's folder too
    for path in (line.partition(",")[0] for line in lines[1:]):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "table.csv").write_text("\n".join(lines))
    table = CSV(tmp_path, "cars").read()
    both = table.iloc[[72]].assign(split="gallery")  # trained on and tested
    table = pd.concat([table, both], ignore_index=True)
    rows = np.flatnonzero(table["split"] != "train")
    centres = rng.normal(size=(20, 16))
    features = centres[table["vehicle_id"].to_numpy()[rows]] + 0.45 * rng.normal(size=(len(rows), 16))
    features = F.normalize(torch.tensor(features, dtype=torch.float32))
    features[-2] = features[0]  # the copy of query 0
    meta = EmbeddingsMeta(checkpoint_sha="x", data=DataVersion("cars"))
    return Embeddings(features, rows, table, None, meta)


def mined(embeddings, file, options=OPTIONS):
    mining.mine(embeddings, options, file, seed=0)
    return pd.read_csv(file, keep_default_na=False), json.loads(file.with_suffix(".json").read_text())


def test_the_file_holds_what_was_mined_and_what_made_it(cars, tmp_path):
    file, said = mined(cars, tmp_path / "out/mined.csv")
    assert said["images"] == len(file) < said["of"] == len(cars.rows) - 1
    assert said["ids"] == file["vehicle_id"].nunique() >= N_VEHICLES
    assert said["ids_of_one_image"] == (file["vehicle_id"].value_counts() == 1).sum()
    assert said["purity"] == 1
    assert (said["vehicles"], said["vehicles_in_test_set"]) == (N_VEHICLES, N_VEHICLES)
    assert said["options"]["d_n"] == 0.8
    assert said["checkpoint_sha"] == "x"
    assert file["vehicle_id"].min() == 1_000_000
    assert set(file["split"]) == {"train"}
    assert set(file.columns).isdisjoint({"colour", "type"})
    assert not file["path"].str.startswith("train/").any()  # it has its own vehicle
    assert "query/0.jpg" in set(file["path"])
    assert "gallery/0.jpg" not in set(file["path"])  # the same image
    table = cars.table.drop_duplicates("path").set_index("path")
    for column in ("camera_id", "timestamp", "domain"):
        assert file[column].tolist() == table.loc[file["path"], column].tolist()
    own = table.loc[file["path"], "vehicle_id"].to_numpy()
    assert pd.DataFrame({"own": own, "mined": file["vehicle_id"]}).groupby("mined")["own"].nunique().max() == 1


def test_test_labels_tell_the_purity_and_nothing_else(cars, tmp_path):
    file, said = mined(cars, tmp_path / "one.csv")
    tested = (cars.table["split"] != "train").to_numpy()
    for number, labels in enumerate([np.random.default_rng(1).permutation(tested.sum()), np.full(tested.sum(), -1)]):
        table = cars.table.copy()
        table.loc[tested, "vehicle_id"] = labels
        table.loc[tested, "colour"] = "green"
        other, told = mined(replace(cars, table=table), tmp_path / f"other_{number}.csv")
        pd.testing.assert_frame_equal(other, file)
        assert (tmp_path / f"other_{number}.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
        assert told.get("purity") != said["purity"]
    assert "purity" not in told  # hidden vehicles


def test_kmeans_is_measured_at_the_true_number_of_vehicles(cars, tmp_path, caplog):
    """Six clusters of six tight vehicles are right; as many as were mined before would be a matter of that number."""
    caplog.set_level("INFO")
    table = cars.table.iloc[cars.rows]
    centres = F.normalize(torch.eye(20, 16)[table["vehicle_id"].to_numpy() % 16])
    tight = replace(cars, features=F.normalize(centres + 0.01 * torch.randn(len(table), 16)))
    few = Mining(d_n=0.5, d_p=0.005, first=0)  # only the chosen ones themselves
    _, said = mined(tight, tmp_path / "few.csv", few)
    assert (said["ids"], said["vehicles"], said["vehicles_in_test_set"]) == (N_VEHICLES, N_VEHICLES, N_VEHICLES)
    assert said["kmeans_purity"] > 0.8
    _, said = mined(cars, tmp_path / "one.csv", Mining(d_n=100, d_p=2.1, first=0))
    assert (said["ids"], said["vehicles_in_test_set"]) == (1, N_VEHICLES)
    assert said["kmeans_purity"] > 0.5 > said["purity"]
    assert f"of {said['vehicles']} of 6 vehicles" in caplog.text
    assert "(k-means, 6 clusters of all images:" in caplog.text


def test_clusters_instead_of_mined_identities(cars, tmp_path):
    file, said = mined(cars, tmp_path / "clusters.csv", Mining(kind="kmeans"))
    assert said["ids"] == file["vehicle_id"].nunique() == N_VEHICLES
    assert said["images"] == len(file) == said["of"] - 1  # all of them, copies once
    assert "kmeans_purity" not in said
    file, said = mined(cars, tmp_path / "more.csv", Mining(kind="kmeans", clusters=9))
    assert said["ids"] == file["vehicle_id"].nunique() == 9
    table = cars.table.copy()
    table.loc[table["split"] != "train", "vehicle_id"] = -1
    hidden = replace(cars, table=table)
    with pytest.raises(ConfigError, match=r"hidden here; pass mine\.clusters=<number> \(333"):
        mined(hidden, tmp_path / "hidden.csv", Mining(kind="kmeans"))
    again, said = mined(hidden, tmp_path / "hidden.csv", Mining(kind="kmeans", clusters=9))
    pd.testing.assert_frame_equal(again, file)
    assert "purity" not in said


def test_pseudo_identities_lie_beyond_the_training_identities(cars, tmp_path):
    table = cars.table.copy()
    table.loc[table["split"] == "train", "vehicle_id"] = 5_000_000
    file, _ = mined(replace(cars, table=table), tmp_path / "mined.csv")
    assert file["vehicle_id"].min() == 5_000_001


def test_images_of_several_folders_are_refused(cars, tmp_path):
    table = cars.table.copy()
    table.loc[0, "root"] = "/elsewhere"
    with pytest.raises(ConfigError, match="The test images lie in 2 folders"):
        mined(replace(cars, table=table), tmp_path / "mined.csv")
    assert not (tmp_path / "mined.csv").exists()


def test_whoever_reads_csv_files_reads_it(cars, tmp_path):
    file, _ = mined(cars, tmp_path / "mined.csv")
    alone = CSV(tmp_path, "csv", str(tmp_path / "mined.csv")).read()
    assert (alone["vehicle_id"].tolist(), set(alone["split"])) == (file["vehicle_id"].tolist(), {"train"})

    layout = CSV(tmp_path, "cars")
    table = layout.read()
    extra = add_extra(table, tmp_path / "mined.csv", "cars")
    moved = extra["path"].isin(file["path"])
    assert set(extra.loc[moved, "split"]) == {"train"}
    assert extra.loc[moved].set_index("path").loc[file["path"], "vehicle_id"].tolist() == file["vehicle_id"].tolist()
    pd.testing.assert_frame_equal(extra[~moved], table[~moved])

    sources = {"cars": {"layout": layout}, "csv": {"layout": CSV(tmp_path, "csv", "mined.csv"), "role": "mined"}}
    pool = Pool("both", sources, target="cars")
    pooled = pool.read()
    pd.testing.assert_frame_equal(pooled.iloc[: len(table)], table)
    assert pooled["path"].tolist()[len(table) :] == file["path"].tolist()
    assert f"csv: {len(file)} mined images of {file['vehicle_id'].nunique()} vehicles" in pool.counts(pooled)
    sources["csv"]["role"] = "real"
    with pytest.raises(DataError, match=r"trains on .* images of the test split of the target 'cars'"):
        Pool("both", sources, target="cars").read()


@pytest.mark.parametrize("holdout", [0, 0.34])
def test_mined_images_are_trained_on_and_change_no_test(cars, tmp_path, holdout):
    file, _ = mined(cars, tmp_path / "mined.csv")
    more = CSV(tmp_path, "mined", "mined.csv")
    options = {"tasks": ["image_to_image"], "transforms": Transforms(size=8), "holdout": holdout}
    plain, with_mined = (ReIDDataModule(CSV(tmp_path, "cars"), **options, mined=m) for m in (None, more))
    for data in (plain, with_mined):
        data.setup()
    assert with_mined.num_classes == plain.num_classes + file["vehicle_id"].nunique()
    assert fingerprint(with_mined.table.iloc[: len(plain.table)]) == plain.fingerprint != with_mined.fingerprint
    np.testing.assert_array_equal(with_mined.eval_rows, plain.eval_rows)
    assert (with_mined.table["dataset"] == "mined").sum() == len(file)


SMALL = ("backbone=efficientnet_lite0", "transforms.size=32", "workers=0", "trainer=cpu", "logger=csv")
THREE = (
    *SMALL,
    "method=bot_mdl",
    "data=pool",
    "data.sources={quickstart_veri: {}, quickstart: {role: synthetic, first_ids: 20}}",
    "data.target=quickstart_veri",
    "stages=mdl_mined",
    "optim=quickstart",
    "optim@stages.real.optim=quickstart",
    "optim@stages.mined.optim=quickstart",
    "sampler.images=2",
    "+trainer.limit_train_batches=2",
    *("epochs=1", "stages.real.epochs=1", "stages.mined.epochs=1"),
    *("stages.mined.mine.d_n=0.35", "stages.mined.mine.d_p=0.3"),
)


def weights(path):
    return load_checkpoint(path)["state_dict"]


@pytest.mark.slow
def test_three_stages_and_a_stop_in_the_last(composed, checked, tmp_path, monkeypatch):
    three = (*THREE, "stages.mined.epochs=2")
    whole = tmp_path / "whole"
    metrics = stages.run(checked(*three, f"paths.run_dir={whole}"))
    file = pd.read_csv(whole / "stages/mined/mined.csv")
    labels = {
        name: load_checkpoint(whole / f"stages/{name}/last.ckpt")["reid"]["labels"] for name in ("mixed", "mined")
    }
    assert [name for name, _ in labels["mixed"]] == ["quickstart"] * 20 + ["quickstart_veri"] * 60
    assert [vehicle for name, vehicle in labels["mined"] if name == "mined"] == sorted(set(file["vehicle_id"]))
    assert len(labels["mined"]) == 60 + file["vehicle_id"].nunique()
    first, last = (weights(whole / f"stages/{name}/last.ckpt") for name in ("mixed", "mined"))
    for name, value in first.items():  # as they were after the first stage
        if name.startswith(("backbone.stem.", "backbone.stages.0.", "backbone.stages.1.")):
            assert torch.equal(value, last[name]), name
    assert metrics.steps == 2 + 2 + 4
    assert metrics.data.name == "quickstart_veri"

    # Tested as src.evaluate tests it: without the mined images.
    checkpoint = whole / "stages/mined/last.ckpt"
    tested = composed(f"checkpoint={checkpoint}", "workers=0", f"paths.run_dir={tmp_path}/again", config="evaluate")
    again = evaluation.run(tested)
    assert (again.tasks, again.data) == (metrics.tasks, metrics.data)

    # The command mines the same.
    real = whole / "stages/real/last.ckpt"
    command = ("mine.d_n=0.35", "mine.d_p=0.3", "workers=0", "trainer=cpu")
    for number, source in enumerate([f"checkpoint={real}", f"embeddings={whole}/stages/mined/embeddings"]):
        out = mining.run(composed(source, *command, f"paths.run_dir={tmp_path}/mine_{number}", config="mine"))
        assert out.read_bytes() == (whole / "stages/mined/mined.csv").read_bytes()

    # Started there, stopped in the second epoch, gone on: the same weights.
    class InterruptionError(RuntimeError):
        pass

    def stop(method):
        if method.current_epoch == 1:
            raise InterruptionError

    later = (*three, "start=mined", f"stages.mined.load={real}", f"paths.run_dir={tmp_path}/later")
    with monkeypatch.context() as patched:
        patched.setattr("src.methods.bot.BoT.on_train_epoch_start", stop, raising=False)
        with pytest.raises(InterruptionError):
            stages.run(checked(*later))
    with monkeypatch.context() as patched:
        patched.setattr("src.evaluation.pseudo_labels.mine", None)  # what was mined is there
        stages.run(stages.interrupted(f"{tmp_path}/later"))
    assert (tmp_path / "later/stages/mined/mined.csv").read_bytes() == (whole / "stages/mined/mined.csv").read_bytes()
    for name, value in weights(tmp_path / "later/stages/mined/last.ckpt").items():
        torch.testing.assert_close(value, last[name], msg=name)

    # From the backbone's own weights, the other model only mines.
    anew = (*THREE, "start=mined", "stages.mined.load=null", f"paths.run_dir={tmp_path}/anew")
    with pytest.raises(ConfigError, match=r"'mined' .*; pass stages\.mined\.mine\.checkpoint=<checkpoint>"):
        stages.run(checked(*anew))
    stages.run(checked(*anew, f"stages.mined.mine.checkpoint={real}", "stages.mined.freeze=[backbone]"))
    assert (tmp_path / "anew/stages/mined/mined.csv").read_bytes() == (whole / "stages/mined/mined.csv").read_bytes()
    backbone = instantiate(checked(*anew).backbone)
    found = weights(tmp_path / "anew/stages/mined/last.ckpt")
    for name, value in backbone.state_dict().items():
        assert torch.equal(found[f"backbone.{name}"], value), name


def test_impossible_stages_are_refused_before_training(checked, tmp_path):
    for override, message in (
        ("stages.mined.mine.d_n_distance=cosine", "mine.d_n_distance is 'cosine', expected euclidean"),
        ("start=mined", "start=mined, but the stage loads the weights of the one before"),
        ("stages.real.freeze=[backbone.stages.7]", r"freezes 'backbone\.stages\.7', which BoT does not have"),
    ):
        with pytest.raises(ValueError, match=message):
            stages.run(checked(*THREE, override))
    with pytest.raises(ConfigError, match=r"'stages\.mined\.mine\.dn'.*did you mean 'd_n'"):
        checked(*THREE, "+stages.mined.mine.dn=0.3")
    assert not list(tmp_path.rglob("*.ckpt"))


def test_the_command_takes_one_source(composed):
    with pytest.raises(ConfigError, match="Pass either checkpoint or embeddings"):
        mining.run(composed(config="mine"))
    with pytest.raises(ConfigError, match="Embeddings are made already: data needs checkpoint="):
        mining.run(composed("embeddings=x", "data=quickstart", config="mine"))
