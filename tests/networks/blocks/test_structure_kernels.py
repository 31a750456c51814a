"""The Triton kernels without a GPU: what they compute, in Triton's interpreter, and what they compile to."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from src.networks.blocks import structure

triton = pytest.importorskip("triton", reason="this build of torch comes without Triton")


def random_map(*shape, seed):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def kernels():
    """The module again, with kernels that are interpreted on the CPU."""
    spec = importlib.util.find_spec("src.networks.blocks.structure_kernels")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")  # which `triton.jit` looks at
        spec.loader.exec_module(module)
    return module


def by_loops(x, grad, beta, window):
    """`T + β S` and the gradient, term by term from the formulas, in float64."""
    x = x.double().requires_grad_()
    r, (height, width) = window // 2, x.shape[2:]
    rows = []
    for i in range(height):
        for j in range(width):
            centre, numerator, denominator = x[..., i, j], 0, 1
            for y in range(i - r, i + r + 1):
                for z in range(j - r, j + r + 1):
                    inside = 0 <= y < height and 0 <= z < width
                    neighbour = x[..., y, z] if inside else torch.zeros_like(centre)
                    rise = (neighbour - centre).relu()
                    numerator, denominator = numerator + rise * neighbour, denominator + rise
            rows.append(centre + beta * numerator / denominator)
    out = torch.stack(rows, dim=-1).view(x.shape)
    return out.detach(), torch.autograd.grad(out, x, grad.double())[0]


LAYOUTS = {
    "rows last": lambda x: x,
    "channels last": lambda x: x.to(memory_format=torch.channels_last),
    "turned": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "samples inside": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "cut out": lambda x: torch.nn.functional.pad(x, (1, 2, 0, 1, 2, 0))[:, 2:, :-1, 1:-2],
}


@pytest.mark.parametrize("window", [3, 5, 7])
def test_equal_the_loops_with_their_gradient(kernels, window):
    x, grad = random_map(2, 3, 4, 5, seed=window), random_map(2, 3, 4, 5, seed=1)
    out, expected_grad = by_loops(x, grad, 0.3, window)
    torch.testing.assert_close(kernels.enhance(x, 0.3, window), out)
    torch.testing.assert_close(kernels.gradient(x, grad, 0.3, window), expected_grad)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_take_any_layout_and_precision(kernels, layout, dtype):
    x = LAYOUTS[layout](random_map(2, 3, 5, 4, seed=2).to(dtype))
    grad = random_map(2, 3, 5, 4, seed=1).to(dtype)
    out, expected_grad = by_loops(x, grad, 0.3, 3)
    found = kernels.enhance(x, 0.3, 3), kernels.gradient(x, grad, 0.3, 3)
    assert [f.dtype for f in found] == [dtype, dtype]
    assert [f.stride() for f in found] == [torch.empty_like(x).stride()] * 2
    tolerance = {"rtol": max(1e-5, torch.finfo(dtype).eps), "atol": 1e-5}  # one rounding, at the end
    torch.testing.assert_close(found[0].double(), out, **tolerance)
    torch.testing.assert_close(found[1].double(), expected_grad, **tolerance)


@pytest.mark.parametrize("shape", [(3, 2, 1, 5), (1, 1, 1, 1), (1, 5, 3, 2)])
@pytest.mark.parametrize("layout", ["rows last", "channels last", "samples inside"])
def test_cover_maps_of_any_size_with_any_number_of_programs(kernels, monkeypatch, shape, layout):
    for name, value in (("CHUNK", 20), ("TILE", 16), ("ROW", 4), ("ACROSS", 4)):
        monkeypatch.setattr(kernels, name, value)
    x, grad = (LAYOUTS[layout](random_map(*shape, seed=seed)) for seed in (2, 3))
    torch.testing.assert_close(kernels.enhance(x, 0.25, 3), structure.enhance(x, 0.25, 3))
    torch.testing.assert_close(kernels.gradient(x, grad, 0.25, 3), structure.gradient(x, grad, 0.25, 3))


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 4)])
def test_nothing_in_nothing_out(kernels, shape):
    x = torch.empty(shape)
    assert kernels.enhance(x, 0.25, 5).shape == kernels.gradient(x, x, 0.25, 5).shape == shape


def test_equal_neighbours_have_no_gradient_and_expanded_ones_are_taken(kernels):
    x = random_map(2, 2, 4, 4, seed=5).relu()  # half of it exactly zero, like after a ReLU
    grad = torch.ones((), dtype=torch.float64).expand(x.shape)  # what a sum hands back
    torch.testing.assert_close(kernels.gradient(x, grad, 0.25, 3), structure.gradient(x, grad, 0.25, 3))


def test_what_is_no_number_spreads_as_in_torch(kernels):
    x = random_map(1, 2, 4, 4, seed=6)
    x[0, 0, 2, 2] = torch.nan
    torch.testing.assert_close(kernels.enhance(x, 0.25, 3), structure.enhance(x, 0.25, 3), equal_nan=True)


CASES = [
    *((80, "bf16", 5, "channels last"), (90, "bf16", 5, "channels last"), (100, "bf16", 5, "channels last")),
    *((90, "fp16", 7, "channels last"), (90, "fp32", 3, "channels last"), (90, "fp32", 7, "rows last")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("capability", "dtype", "window", "layout"), CASES)
def test_compile_for_gpus_without_spilling(tmp_path, monkeypatch, capability, dtype, window, layout):
    """A100, H100 and B200; stack or local memory would mean that registers were too few."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from src.networks.blocks import structure_kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    maps = LAYOUTS[layout](torch.empty(2, 256, 64, 64))
    launch = structure_kernels._launch(maps, 0.25, window)
    for name in ("_enhance", "_slopes", "_collect"):
        kernel = getattr(structure_kernels, name)
        sizes = dict(zip(["channels", "height", "width", "sb", "sc", "sh", "sw"], launch.shape, strict=True))
        constants = launch.constants | {key: 1 for key, value in sizes.items() if value == 1}  # as a launch does
        kinds = {"u": "*fp32", "v": "*fp32", "own": "*fp32", "x": f"*{dtype}", "grad": f"*{dtype}", "out": f"*{dtype}"}
        signature = {a: "constexpr" if a in constants else kinds.get(a, "i32") for a in kernel.arg_names}
        divisible = [a for a in kernel.arg_names if a in kinds or (a not in constants and sizes[a] % 16 == 0)]
        places = {a: (kernel.arg_names.index(a),) for a in kernel.arg_names}
        source = ASTSource(
            kernel,
            signature,
            {places[a]: value for a, value in constants.items()},
            {places[a]: [["tt.divisibility", 16]] for a in divisible},
        )
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
        file = tmp_path / f"{name}.cubin"
        file.write_bytes(compiled.asm["cubin"])
        usage = subprocess.run([cuobjdump(), "-res-usage", file], capture_output=True, text=True, check=True).stdout
        assert re.findall(r"(STACK|LOCAL):(\d+)", usage) == [("STACK", "0"), ("LOCAL", "0")], usage


def cuobjdump():
    folder = Path(triton.__file__).parent / "backends/nvidia/bin"
    return next(folder.glob("cuobjdump*"))


def test_without_triton_the_formulas_serve():
    code = """
import sys
sys.modules["triton"] = None
import torch
from src.networks.blocks import structure
assert "src.networks.blocks.structure_kernels" not in sys.modules
x = torch.rand(1, 2, 4, 4, requires_grad=True)
structure.StructureEnhancement()(x).sum().backward()
print(structure._kernels() is structure, x.grad.shape)
"""
    root = Path(__file__).parents[3]
    said = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert said == "True torch.Size([1, 2, 4, 4])\n"
