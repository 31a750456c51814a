"""Time and memory of DNDM's blocks, forward and backward, against their straightforward forms. Prints Markdown.

    python -m scripts.benchmark_blocks                          # small: about a minute on two cores
    python -m scripts.benchmark_blocks --batch 64 --size 256 --device cuda --dtype bfloat16

Every row is a process of its own. Time is the median of the repeats after one warm-up; on a machine that is busy
otherwise, `--clock cpu` with OMP_NUM_THREADS=1 counts the seconds of this process alone. Memory is what the warm-up
adds at its peak to inputs and weights: on a GPU torch's allocated bytes, on a CPU the resident set (`VmHWM` of Linux,
reset before the run), which also counts the allocator's and oneDNN's own buffers.
"""

import argparse
import datetime
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from src.networks import Backbone, ClassAwareness, DNDMNetwork, Exchange, StructureEnhancement, partners

STAGES = {1: (256, 4), 2: (512, 8), 3: (1024, 16), 4: (2048, 16)}  # ResNet-50 with last stride 1: channels, stride
WIDE = STAGES[4][0]


def windowed(x: Tensor) -> Tensor:
    """DSE with the window as an axis."""
    b, c, h, w = x.shape
    windows = F.unfold(x.reshape(b * c, 1, h, w), 5, padding=2).view(b, c, 25, h, w)
    rises = (windows - x.unsqueeze(2)).relu()
    return x + 0.25 * (rises * windows).sum(2) / (1 + rises.sum(2))


def batch_labels(batch: int) -> tuple[Tensor, Tensor]:
    """Identities with two day and two night images each, as far as the batch goes."""
    index = torch.arange(batch)
    return index // 4, index % 2


def build(case: str, batch: int, size: int, device: str) -> Callable[[], Tensor]:
    """The forward pass of a case: `dse 1 windowed`, `cca 3 plain`, `step - auto`."""
    block, stage, name = case.split()
    form: Any = name
    label, domain = (t.to(device) for t in batch_labels(batch))
    if block == "step":
        off: Any = {"glare": False, "structure_stages": (), "awareness_stages": ()}
        options = off if form == "baseline" else {"form": form}
        network = DNDMNetwork(Backbone("resnet50"), 100, **options)
        network.to(device)
        images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, device=device)
        glare = torch.zeros_like(images[:, :1])
        return lambda: network(images, domain, label, glare).logits.float().logsumexp(1).sum()
    channels, stride = STAGES[int(stage)]
    x = torch.randn(batch, channels, size // stride, size // stride, device=device).relu().requires_grad_()
    if block == "dse":
        enhance = windowed if form == "windowed" else StructureEnhancement()
        return lambda: enhance(x).sum()
    awareness = ClassAwareness(channels, WIDE, form).to(device)
    weight, bias = torch.randn(batch, WIDE, device=device) * 0.01, torch.zeros(batch, device=device)
    exchange = Exchange(weight, bias, partners(label, domain))
    return lambda: awareness(x, exchange).sum()


def resident(field: str) -> int:
    """`VmRSS` or `VmHWM` of this process, in bytes."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def measure(case: str, args: argparse.Namespace) -> None:
    """Prints seconds and bytes of one case."""
    torch.manual_seed(0)
    forward = build(case, args.batch, args.size, args.device)
    cuda = args.device.startswith("cuda")
    dtype = getattr(torch, args.dtype)

    def run() -> None:
        with torch.autocast(args.device.split(":")[0], dtype, enabled=dtype != torch.float32):
            loss = forward()
        loss.backward()
        if cuda:
            torch.cuda.synchronize()

    if cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
    run()
    memory = (torch.cuda.max_memory_allocated() if cuda else resident("VmHWM")) - before
    seconds, clock = [], time.process_time if args.clock == "cpu" else time.perf_counter
    for _ in range(args.repeats):
        start = clock()
        run()
        seconds.append(clock() - start)
    print(statistics.median(seconds), memory)


def table(args: argparse.Namespace) -> None:
    """Runs every case in a process of its own and prints the rows."""
    machine = torch.cuda.get_device_name() if args.device.startswith("cuda") else f"{os.cpu_count()} cores, {cpu()}"
    print(f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {machine}, torch {torch.__version__}, {args.dtype},")
    threads = f", {torch.get_num_threads()} threads, {args.clock} clock"
    print(f"batch {args.batch} of {args.size}², forward and backward, median of {args.repeats}{threads}\n")
    print("| block | stage | form | seconds | × | MB | × |\n|---|---|---|---|---|---|---|")
    groups = [*(("dse", s, ("windowed", "blocks")) for s in "1234"), *(("cca", s, ("plain", "folded")) for s in "1234")]
    for block, stage, forms in [*groups, ("step", "-", ("baseline", "plain", "auto"))]:
        first = None
        for form in forms:
            command = [
                sys.executable,
                "-m",
                "scripts.benchmark_blocks",
                *sys.argv[1:],
                "--case",
                f"{block} {stage} {form}",
            ]
            result = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds, memory = (float(v) for v in result.stdout.split())
            first = first or (seconds, memory)
            row = (block, stage, form, f"{seconds:.3f}", f"{seconds / first[0]:.2f}")
            print(f"| {' | '.join(row)} | {memory / 1e6:.0f} | {memory / first[1]:.2f} |", flush=True)


def cpu() -> str:
    """The processor's name, as far as the system tells."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", path.read_text()) if path.exists() else None
    return found[1] if found else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=128, help="side of the images")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"], help="autocast to")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clock", default="wall", choices=["wall", "cpu"])
    parser.add_argument("--case", help="measure one case here and print seconds and bytes")
    args = parser.parse_args()
    if args.case:
        measure(args.case, args)
    else:
        table(args)


if __name__ == "__main__":
    main()
