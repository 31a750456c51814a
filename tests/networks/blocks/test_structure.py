import pytest
import torch

from src.networks import StructureEnhancement
from src.networks.blocks import structure, structure_blocks


def by_loops(x, beta, window):
    """Position by position, straight from the formulas."""
    out, r = x.clone(), window // 2
    for b, c, i, j in torch.cartesian_prod(*(torch.arange(n) for n in x.shape)).tolist():
        centre = x[b, c, i, j].item()
        numerator = denominator = 0.0
        for di in range(-r, r + 1):
            for dj in range(-r, r + 1):
                inside = 0 <= i + di < x.shape[2] and 0 <= j + dj < x.shape[3]
                neighbour = x[b, c, i + di, j + dj].item() if inside else 0.0
                gradient = max(0.0, neighbour - centre)
                numerator += gradient * neighbour
                denominator += gradient
        out[b, c, i, j] = centre + beta * numerator / (1 + denominator)
    return out


def by_unfold(x, beta, window):
    """The usual form, with the window as an axis."""
    b, c, h, w = x.shape
    windows = torch.nn.functional.unfold(x.reshape(b * c, 1, h, w), window, padding=window // 2)
    windows = windows.view(b, c, window**2, h, w)
    gradients = (windows - x.unsqueeze(2)).relu()  # whose gradient at 0, unlike that of clamp, is 0 in all versions
    return x + beta * (gradients * windows).sum(2) / (1 + gradients.sum(2))


def random_map(*shape, seed):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("window", [3, 5])
def test_equals_loops(window):
    x = random_map(2, 2, 4, 6, seed=window)
    expected = by_loops(x, 0.25, window)
    torch.testing.assert_close(StructureEnhancement(0.25, window)(x), expected)
    torch.testing.assert_close(structure.enhance(x, 0.25, window), expected)


@pytest.mark.parametrize("shape", [(3, 5, 7, 4), (1, 1, 1, 1), (2, 3, 1, 9), (4, 2, 12, 12)])
@pytest.mark.parametrize("block", [1, 50, 1 << 17])
def test_equals_the_windowed_form_with_its_gradient_at_any_block_size(monkeypatch, shape, block):
    monkeypatch.setattr(structure_blocks, "BLOCK", block)
    x = random_map(*shape, seed=2).requires_grad_()
    grad = random_map(*shape, seed=3)
    out, expected = StructureEnhancement(0.4)(x), by_unfold(x, 0.4, 5)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(torch.autograd.grad(out, x, grad), torch.autograd.grad(expected, x, grad))


@pytest.mark.parametrize("window", [3, 5])
def test_gradient_equals_finite_differences(window):
    x = random_map(2, 2, 4, 3, seed=4).requires_grad_()
    assert torch.autograd.gradcheck(StructureEnhancement(0.25, window), x)


@pytest.mark.parametrize("kernels", [structure, structure_blocks])
@pytest.mark.parametrize("window", [3, 7])
def test_the_gradient_by_hand_equals_autograd(kernels, window):
    x = random_map(2, 3, 5, 8, seed=10).requires_grad_()
    grad = random_map(2, 3, 5, 8, seed=11)
    expected = torch.autograd.grad(by_unfold(x, 0.3, window), x, grad)[0]
    torch.testing.assert_close(kernels.gradient(x.detach(), grad, 0.3, window), expected)


def test_every_device_has_its_own_way(monkeypatch):
    kernels = structure._kernels()
    assert kernels.__name__.endswith("structure_kernels")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert structure._kernels() is structure  # without Triton
    for op in (torch.ops.vehicle_reid.enhance, torch.ops.vehicle_reid.enhance_gradient):
        found = torch._C._dispatch_dump(f"{op._qualified_op_name}")
        assert all(f"\n{key}: registered" in found for key in ("CPU", "CUDA", "Meta", "Autograd[alias]"))


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["enhance", "gradient"])
def test_the_formulas_compile_into_one_graph_for_all_sizes(kernel):
    function = torch.compile(getattr(structure, kernel), backend="aot_eager", dynamic=True, fullgraph=True)
    for shape in [(2, 3, 6, 6), (3, 4, 5, 7)]:
        maps = [random_map(*shape, seed=12 + i) for i in range(1 if kernel == "enhance" else 2)]
        expected = getattr(structure_blocks, kernel)(*maps, 0.25, 5)
        torch.testing.assert_close(function(*maps, 0.25, 5), expected)


def test_equal_neighbours_have_the_gradient_of_relu_at_zero():
    x = random_map(2, 3, 6, 6, seed=5).relu().requires_grad_()  # half of it exactly zero, like after a ReLU
    grad = random_map(2, 3, 6, 6, seed=6)
    out, expected = StructureEnhancement()(x), structure.enhance(x, 0.25, 5)
    torch.testing.assert_close(torch.autograd.grad(out, x, grad), torch.autograd.grad(expected, x, grad))


@pytest.mark.parametrize("layout", ["channels_last", "transposed", "sliced"])
def test_takes_any_memory_layout(layout):
    x = random_map(2, 4, 6, 6, seed=7)
    if layout == "channels_last":
        x = x.to(memory_format=torch.channels_last)
    elif layout == "transposed":
        x = x.transpose(2, 3)
    else:
        x = x[:, ::2]
    x = x.detach().requires_grad_()
    out = StructureEnhancement()(x)
    expected = by_unfold(x, 0.25, 5)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(
        torch.autograd.grad(out.square().sum(), x), torch.autograd.grad(expected.square().sum(), x)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_accumulated_in_float32(dtype):
    x = (random_map(2, 3, 8, 8, seed=8) * 3).to(dtype).requires_grad_()
    out = StructureEnhancement()(x)
    (grad,) = torch.autograd.grad(out.sum(), x)
    wide = x.detach().float().requires_grad_()
    expected = by_unfold(wide, 0.25, 5)
    assert out.dtype == grad.dtype == dtype
    torch.testing.assert_close(out, expected.to(dtype))
    torch.testing.assert_close(grad, torch.autograd.grad(expected.sum(), wide)[0].to(dtype))


def test_keeps_only_its_input_for_the_gradient():
    x = torch.rand(2, 4, 16, 16, generator=torch.Generator().manual_seed(9)).requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t.data_ptr()), t)[1], lambda t: t):
        StructureEnhancement()(x)
    assert kept == [x.data_ptr()]


def test_exports_as_plain_operations():
    x = torch.rand(1, 2, 6, 6)
    exported = torch.export.export(StructureEnhancement().eval(), (x,))
    torch.testing.assert_close(exported.module()(x), StructureEnhancement()(x))
    operations = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert all(name.startswith("aten.") for name in operations)
    traced = torch.jit.trace(StructureEnhancement(), (x,))
    assert "vehicle_reid" not in str(traced.graph)
    torch.testing.assert_close(traced(x), StructureEnhancement()(x))


@pytest.mark.parametrize("layout", ["rows last", "channels last", "turned"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_is_an_operation_as_torch_wants_it(layout, dtype):
    """Its schema, its gradient, its shapes without data, and all of them in a compiled graph."""
    x = random_map(2, 3, 4, 5, seed=13).to(dtype)
    x = x.to(memory_format=torch.channels_last) if layout == "channels last" else x
    x = x.transpose(2, 3) if layout == "turned" else x
    torch.library.opcheck(torch.ops.vehicle_reid.enhance, (x.requires_grad_(), 0.25, 3))
    torch.library.opcheck(torch.ops.vehicle_reid.enhance_gradient, (x.detach(), torch.rand_like(x), 0.25, 3))


def test_the_plain_formulas_keep_the_memory_layout():
    """Which the operation promises for the devices that they serve."""
    for x in (random_map(2, 3, 4, 5, seed=14), random_map(2, 3, 4, 5, seed=14).to(memory_format=torch.channels_last)):
        for out in (structure.enhance(x, 0.25, 3), structure.gradient(x, x, 0.25, 3)):
            assert out.stride() == torch.empty_like(x).stride()


def test_compiles_as_one_operation_with_its_gradient():
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    x = random_map(1, 2, 5, 4, seed=15).requires_grad_()
    out = torch.compile(StructureEnhancement(), backend=backend, fullgraph=True)(x)
    torch.testing.assert_close(out, StructureEnhancement()(x))
    expected = torch.autograd.grad(StructureEnhancement()(x).square().sum(), x)
    torch.testing.assert_close(torch.autograd.grad(out.square().sum(), x), expected)
    assert sum("vehicle_reid" in str(node.target) for graph in graphs for node in graph.graph.nodes) == 1


def test_autocast_leaves_it_alone():
    x = random_map(1, 2, 5, 4, seed=16).float().requires_grad_()
    expected = StructureEnhancement()(x)
    with torch.autocast("cpu", torch.bfloat16):
        out = StructureEnhancement()(x)
        half = StructureEnhancement()(x.bfloat16())
    assert out.equal(expected)
    assert half.dtype == torch.bfloat16
    assert torch.autograd.grad(half.sum(), x)[0].dtype == torch.float32


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4)])
def test_nothing_in_nothing_out(shape):
    x = torch.empty(shape, requires_grad=True)
    out = StructureEnhancement()(x)
    assert out.shape == torch.autograd.grad(out.sum(), x)[0].shape == shape


@pytest.mark.parametrize("window", [1, 4, 0])
def test_rejects_a_window_without_a_centre(window):
    with pytest.raises(ValueError, match=f"odd and at least 3, got {window}"):
        StructureEnhancement(window=window)
