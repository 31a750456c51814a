"""From a training with attributes to labels of a gallery, and what reads them."""

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from src.checkpoints.checkpoint_file import load_checkpoint
from src.checkpoints.restore import build_method, restore_method
from src.config.checks import check_config
from src.data import ReIDDataset
from src.data.layouts import VeRi776
from src.data.transforms.image_transforms import Transforms
from src.evaluation import attribute_labels as labelling
from src.evaluation import evaluation_run as evaluation
from src.runtime.errors import ConfigError
from src.training import run as stages

SMALL = (
    *("backbone=efficientnet_lite0", "data=quickstart_veri", "transforms.size=64", "debug=one_batch", "workers=0"),
    "trainer=cpu",
)
GUIDED = ("method=attribute_guided", "sampler.ids=6", "sampler.images=2", "transforms.background=0.5")


def labelled(composed, tmp_path, *overrides):
    folder = f"paths.run_dir={tmp_path}/labels"
    return pd.read_csv(labelling.run(composed(*overrides, folder, config="label")), dtype=str, keep_default_na=False)


def test_a_guided_network_labels_a_gallery_for_the_constraint(composed, tmp_path, quickstart_veri):
    cfg = composed(*SMALL, *GUIDED, "method.embedding=concat", "validate_every=1")
    check_config(cfg)
    metrics = stages.run(cfg)
    assert metrics.models[0].dimensions == 2048 + 2 * 256
    run = tmp_path / "run"
    log = pd.read_csv(run / "stages/main/metrics.csv")
    for name in ("train/center", "train/type", "train/colour", "train/type_accuracy", "val/colour_accuracy"):
        assert log[name].notna().any(), name
    checkpoint = run / "stages/main/last.ckpt"
    names = load_checkpoint(checkpoint)["reid"]["names"]
    table = VeRi776(quickstart_veri, "quickstart_veri").read()
    train = table[table["split"] == "train"]
    for attribute in ("colour", "type"):
        assert names[attribute] == sorted(set(train[attribute]))

    labels = labelled(composed, tmp_path, f"checkpoint={checkpoint}")
    tested = table[table["split"] != "train"]
    assert labels["path"].tolist() == tested["path"].tolist()
    method = restore_method(checkpoint).eval()
    dataset = ReIDDataset(tested.reset_index(drop=True), Transforms(size=64).evaluation())
    for place in (0, 100, 632):  # one by one what the file says
        with torch.no_grad():
            logits = method.attribute_logits({"image": dataset[place]["image"][None]})
        for attribute in ("colour", "type"):
            best = max(range(len(names[attribute])), key=lambda k: float(logits[attribute][0, k]))
            assert labels[attribute][place] == names[attribute][best]

    file = tmp_path / "labels/labels.csv"
    options = [f"retrieval.attribute_constraint.{name}=0.3" for name in ("delta_type", "delta_colour")]
    found = evaluation.run(
        composed(
            *(f"embeddings={run}/embeddings", "retrieval.steps=[attribute_constraint]", *options),
            *(f"retrieval.attribute_constraint.labels={file}", f"paths.run_dir={tmp_path}/constrained"),
            config="evaluate",
        )
    )
    assert found.before_postprocessing == metrics.tasks
    assert found.tasks["image_to_image"].mAP != metrics.tasks["image_to_image"].mAP
    relabelled = composed(
        *(f"checkpoint={checkpoint}", "data=quickstart_veri", f"data.extra={file}", "workers=0"),
        f"paths.run_dir={tmp_path}/extra",
        config="evaluate",
    )
    evaluation.run(relabelled)
    seen = pd.read_csv(tmp_path / "extra/embeddings/table.csv", dtype=str, keep_default_na=False)
    assert seen.loc[seen["split"] != "train", "colour"].tolist() == labels["colour"].tolist()


@pytest.mark.slow
def test_classifiers_of_one_attribute_each_label_a_folder_together(composed, tmp_path, quickstart_veri):
    checkpoints = {}
    for attribute in ("colour", "type"):
        run = f"paths.run_dir={tmp_path}/{attribute}"
        cfg = composed(*SMALL, "method=attribute_classifier", f"method.attribute={attribute}", run)
        check_config(cfg)
        stages.run(cfg)
        log = pd.read_csv(tmp_path / attribute / "stages/main/metrics.csv")
        assert log[f"train/{attribute}_accuracy"].notna().any()
        checkpoints[attribute] = f"{tmp_path}/{attribute}/stages/main/last.ckpt"
    images = f"images={quickstart_veri}/image_query"
    both = labelled(composed, tmp_path, f"checkpoint=[{checkpoints['colour']},{checkpoints['type']}]", images)
    assert both["path"].tolist() == sorted(path.name for path in (quickstart_veri / "image_query").iterdir())
    one = labelled(composed, tmp_path, f"checkpoint={checkpoints['type']}", images)
    assert one["type"].tolist() == both["type"].tolist()
    assert set(one["colour"]) == {""}
    unsure = labelled(composed, tmp_path, f"checkpoint={checkpoints['type']}", images, "confidence=0.999")
    assert "" in set(unsure["type"])
    for row, name in enumerate(unsure["type"]):
        assert name in ("", one["type"][row])

    with pytest.raises(ConfigError, match="both name the type; pass one of them"):
        labelled(composed, tmp_path, f"checkpoint=[{checkpoints['type']},{tmp_path}/type/stages/main/best.ckpt]")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no images"):
        labelled(composed, tmp_path, f"checkpoint={checkpoints['type']}", f"images={tmp_path}/empty")
    with pytest.raises(ConfigError, match=r"has no gallry images, only gallery, query, train; pass splits="):
        labelled(composed, tmp_path, f"checkpoint={checkpoints['type']}", "splits=[gallry]")


def test_what_names_nothing_is_refused(composed, tmp_path):
    cfg = composed("method=bot", "backbone.name=resnet18", "backbone.weights=null")
    provenance = {"config": OmegaConf.to_container(cfg, resolve=True), "stage": "main", "labels": [["x", 1]]}
    checkpoint = tmp_path / "bot.ckpt"
    torch.save({"state_dict": build_method(cfg, 1, {}).state_dict(), "reid": provenance}, checkpoint)
    with pytest.raises(ConfigError, match=r"is of BoT and names no colours or types; pass .*attribute_classifier"):
        labelled(composed, tmp_path, f"checkpoint={checkpoint}")


def test_attributes_need_data_that_have_them_and_extractors_do_not(composed):
    with pytest.raises(ConfigError, match="AttributeGuided needs colour, type and quickstart"):
        check_config(composed("method=attribute_guided", "data=quickstart"))
    check_config(composed("method=attribute_guided", "data=compcars", "method.attributes=[type]"))
    with pytest.raises(ConfigError, match="AttributeGuided needs colour and compcars"):
        check_config(composed("method=attribute_guided", "data=compcars"))
    with pytest.raises(ConfigError, match="AttributeClassifier needs type and dn_348"):
        check_config(composed("method=attribute_classifier", "data=dn_348", "method.attribute=type"))
    check_config(composed("method=attribute_guided", "data=quickstart", "method.attributes=[]"))
