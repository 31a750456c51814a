"""Counts what a training step asks of a GPU, without one: bytes moved, FLOPs, launches, memory. Prints Markdown.

    python -m scripts.count_steps                                         # every method, 64 images of 256², bfloat16
    python -m scripts.count_steps dfr_st --batch 32 --precision float32 --overrides method.shared_stages=3

A step runs forward and backward on tensors without data, and each operation costs the longest of bytes ÷ bandwidth,
FLOPs ÷ peak and a launch. That is a bound and no measurement: what a GPU reaches in practice is assumed (an H100 SXM:
85 % of 3.35 TB/s, 60 % of 990 TFLOP/s in bfloat16, 80 % of 67 in float32, 4 µs a launch), operations are neither fused
nor overlapped, and the loader, the optimiser and Lightning are left out. The ratio to `bot` is what to look at.

Memory is the largest sum of storages alive at once, with weights and gradients; the optimiser's state, workspaces of
cuDNN (often another GB) and what the allocator loses are left out.
"""

import argparse
import collections
import weakref
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from src.checkpoints.restore import build_method
from src.runtime.command import CONF_DIR

BANDWIDTH, LAUNCH = 3.35e12 * 0.85, 4e-6
PEAK = {True: 990e12 * 0.6, False: 67e12 * 0.8}  # half precision or not
METHODS = ("bot", "dndm", "dndm_released", "dfr_st", "vehiclenet", "attribute_guided")
#: What moves nothing: views, sizes and allocations.
FREE = {
    *("view", "_unsafe_view", "expand", "permute", "transpose", "t", "slice", "select", "detach", "alias", "unsqueeze"),
    *("squeeze", "as_strided", "split", "unbind", "reshape", "empty", "empty_like", "lift_fresh", "empty_strided"),
    *("new_empty", "split_with_sizes", "chunk", "narrow", "unfold", "real", "imag"),
}
#: Operations that move more than arguments and results: the gradient of the structure enhancement reads the map a
#: second time, and writes and reads three float32 numbers for each of its values in between.
BETWEEN = {"enhance_gradient": lambda x: x.numel() * (x.element_size() + 2 * 3 * 4)}


class Count(TorchDispatchMode):
    """Seconds, bytes, FLOPs, operations and the peak of memory of everything inside."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.flops = self.seconds = 0.0
        self.operations = self.alive = self.peak = 0
        self.seconds_of: dict[str, float] = collections.defaultdict(float)
        self._known: set[int] = set()

    def keep(self, tensor: Tensor) -> None:
        """Counts a tensor's memory for as long as it is there."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._known:
            self._known.add(key)
            self.alive += storage.nbytes()
            self.peak = max(self.peak, self.alive)
            weakref.finalize(storage, self._free, key, storage.nbytes())

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.alive -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs one operation and counts it."""
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self.keep(tensor)
        packet = func._overloadpacket
        name = packet.__name__.rstrip("_")
        if func.namespace == "prim" or name in FREE:
            return out
        tensors = [x for x in tree_leaves((args, kwargs or {}, out)) if isinstance(x, Tensor)]
        moved: float = sum(x.numel() * x.element_size() for x in tensors)
        moved += BETWEEN[name](args[0]) if name in BETWEEN else 0
        flops = flop_registry[packet](*args, **(kwargs or {}), out_val=out) if packet in flop_registry else 0
        half = any(x.dtype in (torch.bfloat16, torch.float16) for x in tensors)
        seconds = max(moved / BANDWIDTH, flops / PEAK[half], LAUNCH)
        self.bytes, self.flops, self.seconds = self.bytes + moved, self.flops + flops, self.seconds + seconds
        self.operations += 1
        self.seconds_of[name] += seconds
        return out


def without_data(network: nn.Module) -> None:
    """Puts tensors without data in the place of weights and buffers."""
    for module in network.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = nn.Parameter(torch.empty_like(weight), weight.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty_like(buffer)


def count(method: str, args: argparse.Namespace) -> Count:
    """Counts a step of a method, forward and backward."""
    chosen = [f"method={method}", f"backbone={args.backbone}", "backbone.weights=null", *args.overrides]
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        cfg = compose("train", chosen)
    names = {"colour": [str(i) for i in range(10)], "type": [str(i) for i in range(9)]}
    network = build_method(cfg, args.classes, names)
    with FakeTensorMode(allow_non_fake_inputs=True):
        without_data(network)
        label = torch.zeros(args.batch, dtype=torch.long)
        batch: dict[str, Any] = {name: label.clone() for name in ("label", "domain", "camera", "row", "colour", "type")}
        batch["image"] = torch.empty(args.batch, 3, args.size, args.size, dtype=torch.uint8)
        batch["glare"] = torch.empty(args.batch, 1, args.size, args.size, dtype=torch.uint8)
        batch["nights"] = args.batch // 2
        network.train()
        counted = Count()
        for tensor in (*network.parameters(), *network.buffers(), batch["image"], batch["glare"]):
            counted.keep(tensor)
        dtype = getattr(torch, args.precision)
        with counted:
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                total = torch.stack([*network.losses(batch).values()]).sum()
            total.backward()
    return counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", default=[*METHODS])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=256, help="side of the images")
    parser.add_argument("--classes", type=int, default=500)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--precision", default="bfloat16", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--overrides", nargs="*", default=[], help="of the configuration: method.shared_stages=3")
    args = parser.parse_args()
    plain = count("bot", argparse.Namespace(**{**vars(args), "overrides": []}))
    print(f"Counted, not measured: {args.batch} images of {args.size}², {args.backbone}, {args.precision}.\n")
    print("| method | ms | × `bot` | TFLOP | GB moved | operations | GB of memory | × | most of the time |")
    print("|---|---|---|---|---|---|---|---|---|")
    for method in args.methods:
        c = count(method, args)
        longest = sorted(c.seconds_of, key=c.seconds_of.__getitem__, reverse=True)[:3]
        most = ", ".join(f"{name} {c.seconds_of[name] * 1e3:.1f}" for name in longest)
        cells = [f"`{method}`", f"{c.seconds * 1e3:.1f}", f"{c.seconds / plain.seconds:.2f}", f"{c.flops / 1e12:.2f}"]
        cells += [f"{c.bytes / 1e9:.0f}", f"{c.operations}", f"{c.peak / 1e9:.1f}", f"{c.peak / plain.peak:.2f}", most]
        print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
