import pytest
import torch
from omegaconf import OmegaConf

from src.config import ConfigError
from src.launch import local_processes


@pytest.mark.parametrize(
    ("strategy", "accelerator", "devices", "gpus", "expected"),
    [
        ("auto", "auto", 4, 8, 1),
        ("ddp", "cpu", 2, 0, 2),
        ("ddp", "cpu", "auto", 8, 1),
        ("ddp", "auto", "auto", 0, 1),
        ("ddp", "auto", "auto", 8, 8),
        ("ddp", "gpu", -1, 4, 4),
        ("ddp_find_unused_parameters_true", "gpu", "0,2", 4, 2),
        ("ddp", "gpu", 3, 4, 3),
    ],
)
def test_how_many_processes_a_trainer_asks_for(monkeypatch, strategy, accelerator, devices, gpus, expected):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    trainer = OmegaConf.create({"strategy": strategy, "accelerator": accelerator, "devices": devices})
    assert local_processes(trainer) == expected


def test_inside_a_launcher_nothing_is_started(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert local_processes(OmegaConf.create({"strategy": "ddp", "accelerator": "cpu", "devices": 2})) == 1


def test_names_of_cpus_are_refused(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(ConfigError, match=r"trainer\.devices=2"):
        local_processes(OmegaConf.create({"strategy": "ddp", "accelerator": "cpu", "devices": "0,1"}))
