"""What torch's exporter writes otherwise than torch computes it comes out right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.export import Dim, export

from compiler.frontend.onnx_export import from_exported
from compiler.frontend.open import open_program
from compiler.frontend.prepare import trace
from compiler.frontend.program import Request
from compiler.frontend.specs import parse


class Call(nn.Module):
    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def check(
    function: Callable[..., torch.Tensor], x: torch.Tensor, *, rtol: float = 1e-6, dynamic: bool = False
) -> set[str]:
    """The operators that it is written with."""
    exported = export(Call(function), (x,), dynamic_shapes=({0: Dim("n", min=2, max=64)},) if dynamic else None)
    model = from_exported(exported, 24, retry=lambda: None, translations={})
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    for data in (x, torch.cat([x, x]) if dynamic else x):
        want = function(data).numpy()
        have = session.run(None, {"x": data.numpy()})[0]
        assert (have.dtype, have.shape) == (want.dtype, want.shape)
        np.testing.assert_allclose(have, want, rtol=rtol, atol=0)
    return {node.op_type for node in ir.traversal.RecursiveGraphIterator(model.graph)}


X = torch.linspace(-3, 3, 2 * 3 * 9 * 9).reshape(2, 3, 9, 9)


@pytest.mark.parametrize("function", [torch.softmax, torch.log_softmax])
def test_softmax_in_another_type_converts_first(function: Callable[..., torch.Tensor]) -> None:
    check(lambda x: function(x, -1, dtype=torch.float64), X, rtol=1e-12, dynamic=True)
    check(lambda x: function(x, 1, dtype=torch.float32), X)


@pytest.mark.parametrize(
    "arguments",
    [
        (3, 1, 1, True, False, 2),
        ((4, 4), (2, 3), 1, True, False, 2),
        ((6, 6), (3, 3), (2, 3), True, True, 5),
        ((2, 3), None, 0, False, True, -2),
        ((2, 2), (3, 3), (1, 1), False, False, 3),
    ],
)
def test_average_pooling_with_a_divisor(arguments: tuple[object, ...]) -> None:
    pool: Callable[..., torch.Tensor] = F.avg_pool2d
    check(lambda x: pool(x, *arguments), X, rtol=1e-5)


def test_average_pooling_in_three_dimensions() -> None:
    x = X.reshape(1, 2, 27, 9)[:, :, :25].reshape(1, 2, 5, 5, 9)
    check(lambda x: F.avg_pool3d(x, (2, 3, 4), (1, 2, 2), (0, 1, 2), True, True, 2), x, rtol=1e-5)


@pytest.mark.parametrize("pads", [(1, 2), (0, 2, 0, 1), (3, 0, 9, 9, 1, 0), (-1, 2), (2, -3, -1, -1)])
def test_pads_that_go_round(pads: tuple[int, ...]) -> None:
    rank = len(pads) // 2 + 2
    x = X.reshape(6, 9, 9) if rank == 3 else X if rank == 4 else X.reshape(1, 2, 3, 9, 9)
    assert "Pad" not in check(lambda x: F.pad(x, pads, mode="circular"), x, rtol=0)


def test_a_convolution_that_goes_round_with_any_batch() -> None:
    conv = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular").requires_grad_(requires_grad=False)
    assert "Pad" not in check(conv, X, rtol=1e-3, dynamic=True)


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("dim", [0, 1])
def test_a_scatter_of_means(dim: int, include_self: bool) -> None:
    index = torch.tensor([[0, 1, 0], [1, 1, 0], [0, 0, 0]])
    source = torch.arange(9.0).reshape(3, 3) / 7
    check(
        lambda x: x.scatter_reduce(dim, index, source, "mean", include_self=include_self),
        torch.linspace(-1, 1, 16).reshape(4, 4),
    )


def test_the_logarithm_of_a_sigmoid_near_1() -> None:
    check(F.logsigmoid, torch.linspace(-80, 80, 101), rtol=1e-5)


@pytest.mark.parametrize("stack", [torch.hstack, torch.vstack, torch.dstack, torch.column_stack])
@pytest.mark.parametrize("shape", [(), (3,), (3, 2), (3, 2, 2)])
def test_stacks(stack: Callable[..., torch.Tensor], shape: tuple[int, ...]) -> None:
    x = torch.arange(float(np.prod(shape))).reshape(shape)
    assert not [name for name in check(lambda x: stack((x, -x, x + 1)), x, rtol=0) if "Sequence" in name]


def at_sizes(function: Callable[..., torch.Tensor], spec: str, sizes: tuple[int, ...]) -> None:
    """The graph, which was traced at another size, against torch."""
    program = open_program(Request(Call(function)))
    trace(program, (spec,), None, seed=0, effort="quick")
    session = onnxruntime.InferenceSession(ir.to_proto(program.capture(24)).SerializeToString())
    (tensor,) = parse([spec]).tensors
    for size in sizes:
        x = torch.randn(tensor.shape({"m": size, "n": 3}), generator=torch.Generator().manual_seed(size))
        (have,) = session.run(None, {"x": x.numpy()})
        np.testing.assert_allclose(have, function(x).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sizes", [(1, 2), (3, 4), 2])
def test_adaptive_pooling_of_an_axis_that_is_dynamic(sizes: Any) -> None:
    at_sizes(lambda x: F.adaptive_avg_pool2d(x, sizes), "x:float32[2,3,m=4..20,6]", (4, 5, 7, 20))


def test_adaptive_pooling_of_a_dynamic_row() -> None:
    at_sizes(lambda x: F.adaptive_avg_pool1d(x, 3), "x:float32[2,3,m=3..20]", (3, 4, 20))


@pytest.mark.parametrize("padding", [0, 1, "same"])
def test_a_convolution_of_volumes_without_bias(padding: Any) -> None:
    weight = torch.randn(1, 4, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    at_sizes(lambda x: F.conv3d(x, weight, padding=padding), "x:float32[2,4,m=3..9,4,4]", (3, 9))


def test_a_chain_of_matrices_of_any_size() -> None:
    one, other = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) for shape in ((4, 5), (5, 3)))
    at_sizes(lambda x: torch.linalg.multi_dot([x.reshape(-1, 4), one, other]), "x:float32[m=1..9,n=1..7,4]", (1, 9))


@pytest.mark.parametrize(
    "scatter",
    [
        lambda x, index: x.scatter(1, index, x * 2),
        lambda x, index: x.scatter_add(1, index, x),
        lambda x, index: x.scatter_reduce(1, index, x, "amax"),
        lambda x, index: x.scatter_reduce(1, index, x, "mean"),
    ],
)
def test_fewer_indices_than_there_is_to_scatter(scatter: Callable[..., torch.Tensor]) -> None:
    index = torch.tensor([[2, 0], [1, 3]])
    at_sizes(lambda x: scatter(x, index), "x:float32[m=2..9,5]", (2, 9))


def test_a_remainder_by_a_size() -> None:
    at_sizes(lambda x: torch.remainder((x * 9).long(), x.shape[0]).float(), "x:float32[m=2..9,5]", (2, 7, 9))


def test_the_trace_of_what_is_not_square() -> None:
    at_sizes(lambda x: torch.trace(x[:2]), "x:float32[3,m=1..4]", (1, 2, 4))
