"""The classifier's share of VehicleNet's training step, forward, backward and SGD, by the number of classes.

    OMP_NUM_THREADS=1 python -m scripts.benchmark_classifier --clock cpu
    python -m scripts.benchmark_classifier --backbone resnet50 --size 256 --device cuda --dtype bfloat16

Prints Markdown. The classifier alone is measured behind features that are there already, so that its share is not the
difference of two long times. Its memory is counted: weights, gradients and momentum in float32.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn

from src.losses import cross_entropy
from src.methods.vehiclenet import VehicleNet
from src.runtime.command import CONF_DIR

CLASSES = (576, 31_805)  # VeRi-776, the paper's pool


def step(module: nn.Module, loss: Callable[[], Tensor], args: argparse.Namespace) -> Callable[[], None]:
    """One training step."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-4)
    dtype = getattr(torch, args.dtype)

    def run() -> None:
        with torch.autocast(args.device.split(":")[0], dtype, enabled=dtype != torch.float32):
            value = loss()
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        if args.device.startswith("cuda"):
            torch.cuda.synchronize()

    return run


def model_loss(model: VehicleNet, batch: dict[str, Tensor]) -> Tensor:
    """The whole network's."""
    return model.losses(batch)["cross_entropy"]


def classifier_loss(classifier: nn.Module, features: Tensor, label: Tensor) -> Tensor:
    """The classifier's alone."""
    return cross_entropy(classifier(features), label)


def median(run: Callable[[], None], args: argparse.Namespace) -> float:
    """Seconds of a step, after one that does not count."""
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    run()
    seconds = []
    for _ in range(args.repeats):
        start = clock()
        run()
        seconds.append(clock() - start)
    return statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="efficientnet_lite0", help="a file of conf/backbone")
    parser.add_argument("--batch", type=int, default=36)
    parser.add_argument("--size", type=int, default=128, help="side of the images")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"], help="autocast to")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clock", default="wall", choices=["wall", "cpu"])
    args = parser.parse_args()
    with initialize_config_dir(CONF_DIR, version_base="1.3"):
        backbone = compose("train", [f"backbone={args.backbone}", "backbone.weights=null"]).backbone
    print(
        f"{args.backbone}, batch {args.batch} of {args.size}², {args.dtype} on {args.device}, torch", torch.__version__
    )
    print()
    print("| classes | step, s | classifier, s | share | classifier's memory, MB |\n|---|---|---|---|---|")
    for n_classes in CLASSES:
        model = VehicleNet(instantiate(backbone), n_classes).to(args.device)
        images = torch.randint(0, 256, (args.batch, 3, args.size, args.size), dtype=torch.uint8, device=args.device)
        label = torch.randint(0, n_classes, (args.batch,), device=args.device)
        features = torch.randn(args.batch, model.classifier.in_features, device=args.device, requires_grad=True)
        whole = median(step(model, partial(model_loss, model, {"image": images, "label": label}), args), args)
        alone = step(model.classifier, partial(classifier_loss, model.classifier, features, label), args)
        share = median(alone, args)
        megabytes = 3 * 4 * sum(parameter.numel() for parameter in model.classifier.parameters()) / 1e6
        print(f"| {n_classes:,} | {whole:.3f} | {share:.4f} | {share / whole:.1%} | {megabytes:.0f} |", flush=True)


if __name__ == "__main__":
    main()
