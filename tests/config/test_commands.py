"""Every group of every command: keys, values, and what a run decides itself."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from src.config import gallery_schema, schema
from src.config.checks import check_command, check_config
from src.runtime.command import CONF_DIR
from src.runtime.errors import ConfigError

COMMANDS = {
    "app": (gallery_schema.AppConfig, ["index=g"]),
    "check_data": (schema.CheckDataConfig, ["data=veri776"]),
    "contamination": (schema.ContaminationConfig, ["checkpoint=c"]),
    "convert": (schema.ConvertConfig, ["weights=w", "out=o"]),
    "crop": (gallery_schema.CropConfig, ["video=v", "out=o", "detector=d"]),
    "evaluate": (schema.EvaluateConfig, ["checkpoint=c", "data=veri776"]),
    "export": (schema.ExportConfig, ["checkpoint=c", "out=o"]),
    "index": (gallery_schema.IndexConfig, ["checkpoint=c", "out=o", "images=i"]),
    "label": (schema.LabelConfig, ["checkpoint=c"]),
    "link": (gallery_schema.LinkConfig, ["index=g"]),
    "make_boxes": (schema.MakeBoxesConfig, ["data=veri776", "detector=d", "out=o"]),
    "make_masks": (schema.MakeMasksConfig, ["data=veri776"]),
    "mine": (schema.MineConfig, ["checkpoint=c", "data=cityflow_vehiclex"]),
    "report": (schema.ReportConfig, ["run=r"]),
    "search": (gallery_schema.SearchConfig, ["index=g", "query=[a,b]"]),
    "submit": (schema.SubmitConfig, ["embeddings=[a,b]"]),
    "train": (schema.TrainConfig, []),
    "wandb_dashboard": (schema.DashboardConfig, ["entity=me"]),
}
RANKING = ("train", "evaluate", "mine", "submit", "convert", "contamination")


@pytest.fixture
def refusal(composed):
    """The sentence that refuses a command with these overrides."""

    def said(config, *overrides):
        kind, needed = COMMANDS[config]
        with pytest.raises(ValueError) as error:  # noqa: PT011
            check_command(composed(*needed, *overrides, config=config), kind)
        return str(error.value)

    return said


@pytest.mark.parametrize("config", COMMANDS)
def test_every_command_passes_as_it_is_and_knows_its_keys(composed, refusal, config):
    kind, needed = COMMANDS[config]
    cfg = composed(*needed, config=config)
    if config == "check_data":
        OmegaConf.set_struct(cfg, False)
        del cfg.data["images"]  # which the command takes out itself
    check_command(cfg, kind)
    assert refusal(config, "+unheard=1").startswith("Unknown key 'unheard': ")


@pytest.mark.parametrize("config", RANKING)
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["retrieval.metric=cos"],
            "retrieval.metric is 'cos', expected euclidean, squared, cosine or angle; did you mean",
        ),
        (
            ["retrieval.filter_counts=mis"],
            "retrieval.filter_counts is 'mis', expected miss or drop; did you mean 'miss'?",
        ),
        (["+retrieval.metrik=cosine"], "Unknown key 'retrieval.metrik'"),
        (["+retrieval.k_reciprocal.k3=1"], "Unknown key 'retrieval.k_reciprocal.k3'"),
        (["retrieval.flip=maybe"], "retrieval.flip is 'maybe', expected true or false or null."),
        (["retrieval.verification=5"], "retrieval.verification is 5, expected true or false."),
        (["retrieval.scales=[0]"], "retrieval.scales is [0], expected more than 0."),
        (["retrieval.scales=big"], "retrieval.scales is 'big', expected a list, each a number or null."),
        (["retrieval.queries=-1"], "retrieval.queries is -1, expected at least 0."),
        (["retrieval.k_reciprocal.k1=0"], "retrieval.k_reciprocal.k1 is 0, expected at least 1."),
        (
            ["retrieval.k_reciprocal.lambda_value=2"],
            "retrieval.k_reciprocal.lambda_value is 2, expected a number from 0",
        ),
        (
            ["retrieval.index.kind=flat"],
            "retrieval.index.kind is 'flat', expected exact, torch, ivf_flat, ivf_pq or hnsw",
        ),
        (["retrieval=hnsw", "retrieval.index.m=0"], "retrieval.index.m is 0, expected at least 1."),
        (["+retrieval.index.m=3"], "Unknown key 'retrieval.index.m': an index of kind exact takes kind."),
        (["retrieval.steps=[k_reciproca]"], "retrieval.steps names 'k_reciproca', expected some of"),
        (
            ["retrieval.spatio_temporal.parts=[time]"],
            "retrieval.spatio_temporal.parts is ['time'], expected a list, each",
        ),
    ],
)
def test_retrieval_is_checked_wherever_something_is_ranked(refusal, config, overrides, said):
    assert refusal(config, *overrides).startswith(said)


def test_words_for_true_and_false_are_meant_as_yaml_means_them(composed):
    words = ("retrieval.flip=no", "retrieval.verification=off", "retrieval.steps=k_reciprocal", "retrieval.scales=1")
    cfg = composed(*words, "data=veri776", config="evaluate")
    check_command(cfg, schema.EvaluateConfig)
    assert cfg.retrieval.flip is False
    assert cfg.retrieval.verification is False
    assert cfg.retrieval.steps == ["k_reciprocal"]
    assert cfg.retrieval.scales == [1]
    cfg = composed("data=veri776", "decode=no", "duplicates=yes", config="check_data")
    OmegaConf.set_struct(cfg, False)
    del cfg.data["images"]
    check_command(cfg, schema.CheckDataConfig)
    assert (cfg.decode, cfg.duplicates) == (False, True)
    cfg = composed("method=bot", "method.squared=yes", "transforms.mask=off", "data.tasks=day_to_day")
    check_config(cfg)
    assert cfg.method.squared is True
    assert cfg.stages.main.transforms.mask is False
    assert cfg.stages.main.data.tasks == ["day_to_day"]


@pytest.mark.parametrize(
    ("override", "instead"),
    [
        ("+trainer.max_epochs=3", "pass epochs=3"),
        ("+trainer.check_val_every_n_epoch=2", "pass validate_every=2"),
        ("+trainer.use_distributed_sampler=true", "deal out their batches"),
        ("+trainer.num_sanity_val_steps=2", "debug=one_batch"),
        ("+trainer.fast_dev_run=true", "pass debug=one_batch"),
        ("+trainer.limit_val_batches=1", "a metric is of all test images"),
        ("+trainer.limit_test_batches=0.5", "a metric is of all test images"),
        ("+trainer.max_steps=10", "a stage is as long as its epochs"),
        ("+trainer.overfit_batches=4", "pass debug=overfit"),
        ("+trainer.logger=false", "logger=csv, wandb, tensorboard or mlflow, .* null for none"),
        ("+trainer.limit_train_batches=0", "expected a number of batches from 1"),
        ("+trainer.limit_train_batches=0.0", "expected a number of batches from 1"),
    ],
)
def test_what_a_run_decides_itself_is_refused_with_what_to_pass(composed, override, instead):
    name = override.partition("=")[0].removeprefix("+")
    with pytest.raises(ConfigError, match=f"{name}.*{instead}"):
        check_config(composed("method=bot", override))


def test_what_is_done_anyway_may_be_said(composed):
    same = ("+trainer.use_distributed_sampler=false", "+trainer.limit_val_batches=1.0", "+trainer.max_epochs=null")
    check_config(composed("method=bot", *same, "+trainer.limit_train_batches=0.5", "+trainer.gradient_clip_val=1"))


def test_statistics_that_processes_share_need_gpus(composed, monkeypatch):
    ddp = ("experiment=dfr_st_veri776", "trainer=ddp")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"trainer\.sync_batchnorm=true needs GPUs.*sync_batchnorm=false"):
        check_config(composed(*ddp, "trainer.sync_batchnorm=true"))
    check_config(composed(*ddp, "trainer.sync_batchnorm=false"))
    check_config(composed("experiment=dfr_st_veri776", "trainer=cpu"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    check_config(composed(*ddp, "trainer.sync_batchnorm=true"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("test_checkpoint=bset", "test_checkpoint is 'bset', expected last or best; did you mean 'best'?"),
        ("eval_batch_size=0", "eval_batch_size is 0, expected at least 1."),
        ("workers=-1", "workers is -1, expected at least 0."),
        ("seed=-1", "seed is -1, expected at least 0."),
        ("epochs=1.5", "epochs is 1.5, expected a whole number."),
        ("stages.main.epochs=0", "stages.main.epochs is 0, expected at least 1."),
        ("sampler.ids=0", "sampler.ids is 0, expected at least 1."),
        ("sampler.images=-1", "sampler.images is -1, expected at least 1."),
        ("transforms.size=[32]", "transforms.size is [32], expected a whole number or 2 values, each a whole number."),
        ("transforms.size=0", "transforms.size is 0, expected at least one pixel."),
        ("stages.main.load=true", "stages.main.load is true, expected text or null."),
        ("~trainer", "trainer is missing; leave ~trainer away, or say what it shall be."),
        ("start=second", "start is 'second', expected one of the stages main."),
        ("backbone.last_stride=two", "backbone.last_stride is 'two', expected a whole number or null."),
        ("optim.scale_lr=cubic", "optim.scale_lr is 'cubic', expected none, linear or sqrt."),
    ],
)
def test_values_of_a_training_are_checked(composed, override, said):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        check_config(composed("method=bot", override))
    assert str(error.value) == said


def test_every_configuration_of_a_command_is_tried_here():
    assert sorted(COMMANDS) == sorted(file.stem for file in Path(CONF_DIR).glob("*.yaml"))
