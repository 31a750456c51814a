"""A whole run on a pool of the two small rendered sets."""

import pytest

from src.checkpoints.checkpoint_file import load_checkpoint
from src.config.checks import check_config
from src.config.pools import complete_pools
from src.evaluation import evaluation_run as evaluation
from src.evaluation.metrics_file import read_metrics
from src.runtime.errors import ConfigError
from src.training import run as stages

POOL = (
    "data=pool",
    "data.sources={quickstart: {role: synthetic, use: all, first_ids: 20}, quickstart_veri: {use: all}}",
    "data.target=quickstart_veri",
)


SMALL = (
    "method=bot",
    "backbone=efficientnet_lite0",
    "transforms.size=32",
    "debug=one_batch",
    "workers=0",
    "trainer=cpu",
)


@pytest.mark.slow
def test_a_pool_trains_and_tests_on_its_target(composed, tmp_path):
    cfg = composed(*SMALL, *POOL)
    complete_pools(cfg)
    check_config(cfg)
    stages.run(cfg)
    run = tmp_path / "run"
    metrics = read_metrics(run)
    assert list(metrics.tasks) == ["image_to_image", "image_to_track"]
    assert metrics.data.name == "pool"
    labels = load_checkpoint(run / "stages/main/last.ckpt")["reid"]["labels"]
    assert labels[0] == ["quickstart", 1]
    assert [name for name, _ in labels] == ["quickstart"] * 20 + ["quickstart_veri"] * 60

    # The checkpoint knows its data; naming the pool or its target alone gives the same numbers.
    checkpoint = f"checkpoint={run}/stages/main/last.ckpt"
    for name, data in (("none", ()), ("target", ("data=quickstart_veri",)), ("pool", POOL)):
        tested = composed(checkpoint, *data, "workers=0", f"paths.run_dir={tmp_path}/{name}", config="evaluate")
        complete_pools(tested)
        assert evaluation.run(tested).tasks == metrics.tasks


def test_a_pool_without_target_is_trained_on_and_not_measured(composed, tmp_path, caplog):
    cfg = composed(*SMALL, *POOL[:2], "compare_untrained=true")
    complete_pools(cfg)
    check_config(cfg)
    assert stages.run(cfg) is None
    run = tmp_path / "run"
    assert (run / "stages/main/last.ckpt").is_file()
    assert not (run / "metrics.json").exists()
    assert "pool has no tasks, so nothing is measured" in caplog.text
    checkpoint = f"checkpoint={run}/stages/main/last.ckpt"
    tested = composed(checkpoint, "workers=0", f"paths.run_dir={tmp_path}/again", config="evaluate")
    with pytest.raises(ConfigError, match="'pool' has only training images"):
        evaluation.run(tested)
