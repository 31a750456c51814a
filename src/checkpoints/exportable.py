"""A method as a graph of tensors, from which every exported network is made."""

import logging
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from src.methods.base import ReIDMethod
from src.runtime.errors import ConfigError


class Exportable(nn.Module):
    """A method whose inputs are tensors in order, as run times want them.

    Args:
        method: Ready to embed.
    """

    def __init__(self, method: ReIDMethod) -> None:
        super().__init__()
        self.method = method

    def forward(self, *inputs: Tensor) -> Tensor:
        """L2-normalised embeddings `(B, D)`, from what `method.inputs` names."""
        # A method that does not look at the domain may still be given one.
        unknown = torch.full_like(inputs[0][:, 0, 0, 0], -1, dtype=torch.int64)
        return self.method({"domain": unknown} | dict(zip(self.method.inputs, inputs, strict=True)))


def random_input(name: str, count: int, size: tuple[int, int]) -> Tensor:
    """Random values that an input can have."""
    if name == "image":
        return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8)
    if name == "domain":
        return torch.arange(count) % 2
    if name == "glare":
        return torch.randint(0, 2, (count, 1, *size), dtype=torch.uint8)
    if name in ("camera", "view"):
        return torch.arange(count) % 2 - 1
    raise ConfigError(f"The method looks at {name!r} of its images, which src.export cannot give it yet.")


def trace(network: Exportable, size: tuple[int, int]) -> ExportedProgram:
    """The graph of a network, for batches of any length.

    Args:
        network: In evaluation mode.
        size: Height and width of its images.
    """
    device = next(network.parameters()).device
    inputs = network.method.inputs
    batch = torch.export.Dim("batch", min=1, max=4096)
    # Graphs cannot be traced in inference mode, which a test is run in.
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters, about themselves
        example = tuple(random_input(name, 2, size).to(device) for name in inputs)
        return torch.export.export(network, example, dynamic_shapes={"inputs": tuple({0: batch} for _ in inputs)})


def as_onnx(program: ExportedProgram, inputs: Sequence[str]) -> bytes:
    """A graph as the content of an ONNX file, whose output is called `embedding`.

    Args:
        program: The graph.
        inputs: What it takes, in order.
    """
    for talkative in ("onnx_ir", "onnxscript"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(program, input_names=inputs, output_names=["embedding"], dynamo=True, verbose=False)
    if made is None:
        raise RuntimeError("torch.onnx.export made nothing")
    for node in made.model.graph.all_nodes():
        for value in node.outputs:
            if value.name in inputs:  # an operation may be called like an input: view
                value.name = f"{value.name}_inside"
    content: bytes = made.model_proto.SerializeToString()
    return content
