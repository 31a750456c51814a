import torch

from src.training.host_copy import HostCopy


def test_reads_what_was_there_when_it_began():
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    copy = HostCopy(values * 2)
    assert copy.read().tolist() == [2.0, 4.0]
    assert not copy.read().requires_grad


def test_of_a_gpu_it_is_begun_at_once_and_waited_for_when_read(monkeypatch):
    """With a stand-in for the GPU: what is called, and in which order."""
    calls = []

    class Event:
        def record(self):
            calls.append("record")

        def synchronize(self):
            calls.append("synchronize")

    class OnGPU(torch.Tensor):
        is_cuda = True

    empty_like = torch.empty_like

    def pinned(values, *, device, pin_memory):
        calls.append(f"{device}, {pin_memory}")
        return empty_like(values.as_subclass(torch.Tensor))

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch, "empty_like", pinned)
    copy = HostCopy(torch.tensor(True).as_subclass(OnGPU))
    assert calls == ["cpu, True", "record"]
    assert bool(copy.read())
    assert calls[-1] == "synchronize"
