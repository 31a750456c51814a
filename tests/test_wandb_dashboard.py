"""The specification that scripts.wandb_dashboard sends to W&B, as dry_run=true writes it."""

import json
import sys

import pytest

from scripts import wandb_dashboard


def nodes(tree, key):
    """Every value of a key, anywhere in a JSON tree."""
    for name, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if name == key:
            yield value
        if isinstance(value, dict | list):
            yield from nodes(value, key)


@pytest.fixture
def written(tmp_path, monkeypatch):
    command = ["wandb_dashboard", "entity=team", "project=cars", "tasks=[image_to_image]", "dry_run=true"]
    monkeypatch.setattr(sys, "argv", [*command, f"hydra.run.dir={tmp_path}", "hydra/job_logging=none"])
    wandb_dashboard.main()
    return [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("workspace", "report")]


def test_workspace_and_report_show_the_names_that_runs_log(written, composed):
    for said in written:
        text = json.dumps(said, ensure_ascii=False)
        kinds = {kind for kind in nodes(said, "viewType") if isinstance(kind, str)}
        assert kinds == {
            *("Bar Chart", "Run Comparer", "Parallel Coordinates Plot", "Parameter Importance"),
            *("Run History Line Plot", "Weave", "Media Browser"),
        }
        bars = [metrics for metrics in nodes(said, "metrics") if metrics and str(metrics[0]).startswith("final/")]
        assert bars == [["final/mAP"], ["final/rank1"], ["final/mINP"]]
        for table in ("rank_lists/image_to_image", "cameras/image_to_image", "domains/image_to_image", "groups"):
            assert f'"{table}"' in text
        assert ["figures/rank_list_image_to_image"] in list(nodes(said, "mediaKeys"))
        (columns,) = (found for found in nodes(said, "columns") if isinstance(found, list))
        assert columns[-1]["accessor"] == "summary:final/mAP"
        axes = {column["displayName"]: column["accessor"] for column in columns[:-1]}
        assert axes["α"] == "config:method.value.alpha"
        assert axes["ω, evaluated"] == "config:retrieval.value.spatio_temporal.omega"
    workspace, report = written
    sections = workspace["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == ["Results", "Sweeps", "Training", "Errors"]
    headings = [block for block in report["blocks"] if block.get("type") == "heading"]
    assert [heading["children"][0]["text"] for heading in headings] == [section["name"] for section in sections]


@pytest.mark.parametrize("key", wandb_dashboard.AXES.values())
def test_every_axis_is_a_setting(composed, key):
    method = "dfr_st" if key.endswith(("omega", "lambda_value")) else "dndm"
    node = composed(f"method={method}")
    for part in key.split("."):
        node = node[part]
    assert isinstance(node, float)
