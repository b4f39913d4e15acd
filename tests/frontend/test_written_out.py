"""Operators without a translation of torch's exporter are written as torch computes them."""

from __future__ import annotations

import math
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

from compiler.frontend.exportable import exportable_graph
from compiler.frontend.onnx_export import from_exported
from compiler.frontend.open import open_program
from compiler.frontend.prepare import trace
from compiler.frontend.program import Request
from compiler.frontend.written_out import bessel, gamma, matrices, normal

NAN, INF = float("nan"), float("inf")
aten = torch.ops.aten
Function = Callable[..., Any]


class Calls(nn.Module):
    """Many functions of the same tensors, because every export takes a second."""

    def __init__(self, functions: tuple[Function, ...]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, *tensors: torch.Tensor) -> list[torch.Tensor]:
        found = [function(*tensors) for function in self.functions]
        return [part for parts in found for part in ([parts] if isinstance(parts, torch.Tensor) else parts)]


def same(have: Any, want: Any, rtol: float, atol: float) -> None:
    assert (have.dtype, have.shape) == (want.dtype, want.shape)
    np.testing.assert_allclose(have, want, rtol=rtol, atol=atol, equal_nan=True)


def rewritten(*tensors: torch.Tensor, of: list[Function], rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """The program with these operators in others, run by torch: the exporter would take most of the time."""
    exported = export(Calls(tuple(of)), tensors)
    graph = exportable_graph(exported)
    assert graph is not None
    program = {node.target for node in exported.graph.nodes if node.op == "call_function"}
    left = {node.target for node in graph.graph.nodes if node.op == "call_function"}
    assert program - left, "nothing was replaced"
    for have, want in zip(graph(*tensors), Calls(tuple(of))(*tensors), strict=True):
        same(have.numpy(), want.numpy(), rtol, atol)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def test_elementwise() -> None:
    left = torch.tensor([1.0, -2.0, NAN, 3.0, 0.0, -0.0, INF, 1e30])
    right = torch.tensor([-1.0, 0.0, 2.0, NAN, -0.0, 0.0, 1.0, -1e30])
    functions: list[Function] = [torch.copysign, torch.fmax, torch.fmin, torch.hypot, torch.isin]
    rewritten(left, right, of=[*functions, lambda x, y: torch.copysign(y, -2.0)])


def test_sorts_keep_the_order_of_equal_elements() -> None:
    x = torch.tensor([[2.0, 1.0, 2.0, 1.0], [0.0, 0.0, 0.0, -1.0]])
    down: Function = lambda x: torch.sort(x, dim=0, stable=True, descending=True)  # noqa: E731
    module = Calls((lambda x: torch.sort(x, stable=True), down, lambda x: torch.argsort(x, stable=True)))
    model = from_exported(export(module, (x,)), 24, retry=lambda: None, translations={})
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    for have, want in zip(session.run(None, {session.get_inputs()[0].name: x.numpy()}), module(x), strict=True):
        same(have, want.numpy(), 0, 0)


def test_what_stands_in_the_middle() -> None:
    x = random(4, 6)
    x[1, 2] = x[3, 0] = NAN
    rewritten(
        x,
        of=[
            lambda x: torch.median(x, 1),
            lambda x: torch.nanmedian(x, 0, keepdim=True),
            torch.median,
            torch.nanmedian,
            lambda x: torch.kthvalue(x[0], 2, -1, keepdim=True),
            lambda x: torch.mode(x.nan_to_num().round(), 1),
        ],
    )


def test_running_extrema_and_products() -> None:
    x = random(3, 7)
    x[1, 3], x[2, 5] = NAN, x[2, 4]
    rewritten(x, of=[lambda x: torch.cummax(x, 1), lambda x: torch.cummin(x, 0), lambda x: torch.cumprod(x, 1)])


def test_places_within_sorted_data() -> None:
    bounds, x = torch.tensor([-1.0, 0.0, 0.0, 2.0]), torch.tensor([[0.0, -3.0], [NAN, 1.0]])
    rewritten(
        bounds,
        x,
        of=[
            torch.searchsorted,
            lambda bounds, x: torch.searchsorted(bounds, x, side="right"),
            lambda bounds, x: torch.searchsorted(bounds.expand(2, 4).clone(), x, out_int32=True),
            lambda bounds, x: torch.bucketize(x, bounds, right=True),
        ],
    )


def test_places_at_any_number_of_rows() -> None:
    module = Calls((lambda x: torch.bucketize(x, x[0]), lambda x: torch.median(x, 1)))
    exported = export(module, (random(3, 5).sort().values,), dynamic_shapes=(({0: Dim("n", max=9)},),))
    model = from_exported(exported, 24, retry=lambda: None, translations={})
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    for rows in (1, 8):
        x = random(rows, 5).sort().values
        found = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        for have, want in zip(found, module(x), strict=True):
            same(have, want.numpy(), 0, 0)


def test_writing_to_places() -> None:
    rewritten(
        random(4, 3),
        torch.tensor([2, 0, 2]),
        random(3, 3),
        of=[
            lambda x, i, s: aten.index_reduce(x, 0, i, s, "mean"),
            lambda x, i, s: aten.index_reduce(x, 0, i, s, "amax", include_self=False),
            lambda x, i, s: aten.scatter(x, 1, i.expand(4, 3), 2.0, reduce="multiply"),
            lambda x, i, s: aten.scatter(x, 0, i.unsqueeze(1), s, reduce="add"),
            lambda x, i, s: x.put(i - 3, s[0]),
            lambda x, i, s: x.put(i, s[0], accumulate=True),
            lambda x, i, s: torch.diagonal_scatter(x, s[0, :2], -2),
            lambda x, i, s: torch.as_strided_scatter(x, s[:2, :2], (2, 2), (3, 2), 1),
        ],
    )


def test_single_numbers() -> None:
    x = torch.tensor(2.0)
    rewritten(
        x,
        torch.tensor([0]),
        of=[
            lambda x, i: torch.index_select(x, 0, i),
            lambda x, i: torch.index_add(x, 0, i, x, alpha=3),
            lambda x, i: torch.index_copy(x, 0, i, -x),
            lambda x, i: torch.cat([x.reshape(1)[:0], x.reshape(1)[:0]]),
        ],
    )
    for data in (x, random(2, 3)):
        rewritten(data, of=[torch.amax, torch.amin, torch.aminmax])


# -- functions of one number: what they are written with, run by torch ---


def fits(rules: Any, x: torch.Tensor, *names: str, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    for name in names:
        operator = getattr(aten, name).default
        same(rules[operator].compute(x).numpy(), operator(x.double()).float().numpy(), rtol, atol)


def test_the_gamma_function_and_its_derivatives() -> None:
    ends = torch.tensor([1.0, 2.0, 0.5, 3.0, 100.0, 1e6, INF])
    x = torch.cat([torch.linspace(-8.9, 12, 960), ends])
    near_no_pole = x[(x - x.round()).abs() > 0.05]
    fits(gamma.RULES, torch.cat([near_no_pole, ends]), "lgamma", "digamma", rtol=2e-5, atol=3e-6)
    fits(gamma.RULES, torch.tensor([0.0, -0.0, -1.0, -7.0]), "lgamma", "digamma")
    for n in (0, 1, 2, 5):
        want = aten.polygamma(n, near_no_pole.double()).float()
        have = gamma.RULES[aten.polygamma.default].compute(n, near_no_pole)
        scale = (near_no_pole - near_no_pole.round()).abs().clamp(max=1).numpy() ** (n + 1)
        np.testing.assert_allclose(have.numpy() * scale, want.numpy() * scale, rtol=2e-4, atol=2e-6 * 2**n)
    have = gamma.RULES[aten.mvlgamma.default].compute(x[x > 1.1], 3)
    same(have.numpy(), torch.mvlgamma(x[x > 1.1].double(), 3).float().numpy(), 1e-5, 3e-6)


def test_the_normal_distribution() -> None:
    fits(normal.RULES, torch.cat([torch.linspace(-6, 9, 3001), torch.tensor([-math.inf, math.inf])]), "erfc")
    fits(normal.RULES, torch.cat([torch.linspace(-1, 1, 2001), torch.tensor([1.5, -2.0])]), "erfinv")
    fits(normal.RULES, torch.cat([torch.linspace(0, 1, 1001), torch.logspace(-37, -2, 360)]), "special_ndtri")
    fits(normal.RULES, torch.cat([torch.linspace(-40, 5, 901), torch.tensor([-1e10])]), "special_log_ndtr")


def test_bessel_functions() -> None:
    x = torch.linspace(-60, 60, 2001)
    fits(bessel.RULES, x, "special_bessel_j0", "special_bessel_j1", "special_spherical_bessel_j0")
    fits(bessel.RULES, x, "special_i0e", "special_i1e", "i0", "special_i1")
    right = torch.linspace(0.01, 60, 2001)
    fits(bessel.RULES, right, "special_bessel_y0", "special_bessel_y1", atol=2e-6)
    fits(bessel.RULES, right, "special_modified_bessel_k0", "special_modified_bessel_k1")
    fits(bessel.RULES, right, "special_scaled_modified_bessel_k0", "special_scaled_modified_bessel_k1")
    # At infinity torch's own series give NaN for some, where the functions have a limit.
    limits = {"i0": [1, INF, INF], "special_i0e": [1, 0, 0], "special_i1": [0, INF, -INF], "special_i1e": [0, 0, 0]}
    for name, want in (limits | {"special_bessel_j0": [1, 0, 0], "special_bessel_j1": [0, 0, 0]}).items():
        have = bessel.RULES[getattr(aten, name).default].compute(torch.tensor([0.0, INF, -INF]))
        np.testing.assert_allclose(have, want, rtol=1e-6)


def test_what_is_wider_than_the_fits_is_left_alone() -> None:
    assert exportable_graph(export(Calls((torch.lgamma,)), (random(3).double(),))) is None
    assert exportable_graph(export(Calls((torch.lgamma,)), (random(3),))) is not None


# -- small matrices ---


def definite(*batch: int) -> torch.Tensor:
    root = random(*batch, 4, 4)
    return root @ root.mT + torch.eye(4)


def test_equations() -> None:
    rewritten(
        random(2, 4, 4),
        random(2, 4, 3),
        of=[
            lambda a, b: torch.linalg.inv(a),
            torch.linalg.solve,
            lambda a, b: torch.linalg.solve(a, b.mT, left=False),
            lambda a, b: torch.linalg.solve(a, b[..., 0]),
            lambda a, b: torch.linalg.solve_triangular(a, b, upper=True),
            lambda a, b: torch.linalg.solve_triangular(a, b.mT, upper=False, left=False, unitriangular=True),
            lambda a, b: torch.linalg.lu_solve(*torch.linalg.lu_factor(a), b),
            lambda a, b: torch.linalg.lu_solve(*torch.linalg.lu_factor(a), b, adjoint=True),
        ],
        rtol=1e-3,
        atol=1e-4,
    )


def test_factors() -> None:
    rewritten(random(2, 3, 5), of=[torch.linalg.lu, torch.linalg.lu_factor])
    rewritten(
        random(3, 4, 4), of=[torch.linalg.slogdet, torch.det, torch.logdet, torch.matrix_exp], rtol=1e-4, atol=1e-5
    )
    rewritten(
        definite(2),
        of=[
            torch.linalg.cholesky,
            lambda a: torch.linalg.cholesky(a, upper=True),
            lambda a: torch.cholesky_solve(a, torch.linalg.cholesky(a)),
            lambda a: torch.cholesky_inverse(torch.linalg.cholesky(a[0])),
        ],
        rtol=1e-4,
        atol=1e-4,
    )


def test_a_singular_matrix_has_no_logarithm() -> None:
    rewritten(torch.tensor([[1.0, 2.0], [2.0, 4.0]]), of=[torch.linalg.slogdet])


def test_large_matrices_are_left_to_the_exporter() -> None:
    assert exportable_graph(export(Calls((torch.linalg.inv,)), (torch.eye(matrices.LARGEST + 1),))) is None


def test_a_camera_is_inverted_in_onnxruntime() -> None:
    module = Calls((torch.linalg.inv, torch.linalg.det))
    x = random(5, 3, 3)
    model = from_exported(export(module, (x,)), 24, retry=lambda: None, translations={})
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    for have, want in zip(session.run(None, {session.get_inputs()[0].name: x.numpy()}), module(x), strict=True):
        same(have, want.numpy(), 1e-3, 1e-4)


def test_tensors_as_matrices() -> None:
    x = random(2, 3, 6)
    rewritten(
        x,
        of=[
            torch.linalg.tensorinv,
            lambda x: torch.linalg.tensorsolve(x, x[..., 0]),
            lambda x: torch.linalg.tensorsolve(x.permute(2, 0, 1), x[..., 1], dims=(0,)),
            lambda x: torch.linalg.matrix_power(x.reshape(6, 6), -3),
        ],
        rtol=1e-3,
        atol=1e-3,
    )


# -- space ---


def test_adaptive_pooling_of_uneven_windows() -> None:
    x = random(2, 3, 5, 7).round()
    rewritten(
        x,
        of=[
            lambda x: F.adaptive_max_pool2d(x, (2, 3), return_indices=True),
            lambda x: F.adaptive_max_pool1d(x[0], 4, return_indices=True),
            lambda x: F.adaptive_max_pool3d(x, (2, 3, 3), return_indices=True),
            lambda x: F.adaptive_avg_pool3d(x, (2, 3, 3)),
        ],
    )


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_samples_between_voxels(mode: str, padding: str) -> None:
    def sampled(aligned: bool) -> Function:
        return lambda x, grid: F.grid_sample(x, grid, mode, padding, aligned)

    grid = random(2, 3, 4, 5, 3).clamp(-2.5, 2.5)
    rewritten(random(2, 3, 4, 3, 5), grid, of=[sampled(aligned=True), sampled(aligned=False)], rtol=1e-4, atol=1e-5)


def test_distances() -> None:
    def between(p: float) -> Function:
        return lambda x, y: torch.cdist(x, y, p)

    x, y = random(2, 4, 3), random(2, 5, 3)
    rewritten(x, y, of=[*map(between, (0, 1, 2, 3.5, INF)), lambda x, y: F.pdist(x[0], 1)])


def test_the_first_places_that_are_not_0() -> None:
    rewritten(
        torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]]),
        of=[
            lambda x: torch.nonzero_static(x, size=2),
            lambda x: torch.nonzero_static(x, size=8, fill_value=-7),
        ],
    )


def test_a_single_number_is_indexed_in_a_program() -> None:
    program = open_program(Request(Calls((lambda x: x.index_select(0, torch.tensor([0])),))))
    trace(program, (), {"tensors.0": np.array(2, np.float32)}, seed=0, effort="quick")
    assert program.capture(24).graph.outputs[0].shape == ()


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
def test_spreads_of_too_few_elements_are_unknown() -> None:
    for x in (torch.tensor([2.0]), torch.ones(0)):
        rewritten(x, of=[torch.var, torch.std, torch.var_mean, torch.std_mean])


def test_norms_and_quotients() -> None:
    x = torch.tensor(-2.0)
    rewritten(x, of=[lambda x: torch.linalg.vector_norm(x, 3), lambda x: torch.topk(x, 1)])
    x = random(5)
    rewritten(
        x,
        of=[
            lambda x: torch.linalg.norm(x, INF, keepdim=True),
            lambda x: torch.divide(x, torch.arange(1, 6)),
            lambda x: F.binary_cross_entropy_with_logits(20 * x, x.sigmoid()),
            lambda x: F.binary_cross_entropy_with_logits(x, x.sigmoid(), x.abs(), reduction="sum", pos_weight=x.exp()),
        ],
    )
