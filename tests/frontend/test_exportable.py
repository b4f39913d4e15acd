"""Operators that torch's exporter gets wrong come out right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import nn
from torch.export import Dim, export, load, save

from compiler.errors import CompileError
from compiler.frontend.exportable import exportable_graph
from compiler.frontend.exported_facts import exported_specs
from compiler.frontend.onnx_export import from_exported


class Repeat(nn.Module):
    def __init__(self, dim: int | None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(x.shape[0], dim=self.dim)


@pytest.mark.parametrize("dim", [None, 0, 1, -1])
def test_as_many_repeats_as_a_dim_is_large(dim: int | None) -> None:
    exported = export(Repeat(dim), (torch.ones(3, 2),), dynamic_shapes=({0: Dim("n", max=9)},))
    model = from_exported(exported, 24, retry=lambda: None, translations={})
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    for n in (1, 3, 5):
        x = np.arange(2.0 * n, dtype=np.float32).reshape(n, 2)
        want = Repeat(dim)(torch.from_numpy(x)).numpy()
        np.testing.assert_array_equal(session.run(None, {"x": x})[0], want)


def test_the_program_itself_is_left_alone() -> None:
    exported = export(Repeat(0), (torch.ones(3, 2),), dynamic_shapes=({0: Dim("n", max=9)},))
    before = str(exported.graph)
    assert exportable_graph(exported) is not None
    assert str(exported.graph) == before


def test_a_constant_number_of_repeats_needs_no_help() -> None:
    class Twice(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.repeat_interleave(2, dim=0)

    assert exportable_graph(export(Twice(), (torch.ones(3, 2),))) is None


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_complex_numbers_take_a_new_axis(dim: int) -> None:
    """As rotary embeddings in complex numbers do."""

    class Rotate(nn.Module):
        def forward(self, x: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
            turn = torch.polar(torch.ones_like(angle), angle).unsqueeze(dim)
            return torch.view_as_real(torch.view_as_complex(x) * turn)

    x, angle = torch.randn(3, 3, 3, 2), torch.randn(3, 3)
    dims = {0: Dim("n", max=9)} if dim else {}
    exported = export(Rotate(), (x, angle), dynamic_shapes=(dims, dims))
    model = from_exported(exported, 24, retry=lambda: None, translations={})
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    have = session.run(None, {"x": x.numpy(), "angle": angle.numpy()})[0]
    np.testing.assert_allclose(have, Rotate()(x, angle).numpy(), rtol=1e-5, atol=1e-6)


def test_a_question_about_all_values() -> None:
    class Asks(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.where(torch.ops.aten._is_all_true(x > 0), x, -x)

    model = from_exported(export(Asks(), (torch.ones(3),)), 24, retry=lambda: None, translations={})
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    for x in (np.array([1, 2, 3], np.float32), np.array([1, -2, 3], np.float32)):
        np.testing.assert_array_equal(session.run(None, {"x": x})[0], x if x.min() > 0 else -x)


def test_a_dim_that_is_a_sum_is_told_as_what_torch_cannot_export(tmp_path: Path) -> None:
    """torch 2.13 asserts that the dim of an input is one symbol: a mask over what was kept and what is new."""

    class Cached(nn.Module):
        def forward(self, x: torch.Tensor, past: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            keys = torch.cat([past, x], 1)
            return (x @ keys.transpose(1, 2) + mask).softmax(-1) @ keys

    dims = ({0: Dim.AUTO, 1: Dim.AUTO}, {0: Dim.AUTO, 1: Dim.AUTO}, {0: Dim.AUTO, 1: Dim.AUTO, 2: Dim.AUTO})
    exported = export(Cached(), (torch.ones(2, 3, 8), torch.ones(2, 5, 8), torch.ones(2, 3, 8)), dynamic_shapes=dims)
    file = tmp_path / "cached.pt2"
    save(exported, file)
    exported = load(file)  # only there torch forgets which dim the sum is
    assert [spec.dims[2].hi for spec in exported_specs(exported) if spec.name == "mask"] == [64]
    with pytest.raises(CompileError) as caught:
        from_exported(exported, 24, retry=lambda: None, translations={})
    assert caught.value.code == "export-failed"


def test_a_mask_that_is_broadcast_selects() -> None:
    class Select(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.masked_select(x, x[:, :1] > 0)

    exported = export(Select(), (torch.ones(3, 2),))
    model = from_exported(exported, 24, retry=lambda: None, translations={})
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    x = np.array([[1, 2], [-1, 4], [5, -6]], np.float32)
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], [1, 2, 5, -6])


class Either(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        def double(a: torch.Tensor) -> torch.Tensor:
            return a * 2

        def less(a: torch.Tensor) -> torch.Tensor:
            return a - 1

        chosen = torch.cond(x.sum() > 0, double, less, (x,))
        return chosen, chosen / (x.abs() + 1)


def test_a_branch_that_was_traced_without_dynamo_gives_a_tensor() -> None:
    """The exporter took it for a list, and flattened it where it is divided."""
    with torch.compiler.set_stance("force_eager"):
        exported = export(Either(), (torch.ones(3, 2),), dynamic_shapes=({0: Dim("n", max=9)},))
    model = from_exported(exported, 24, retry=lambda: None, translations={})
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    for x in (np.ones((4, 2), np.float32), -np.ones((4, 2), np.float32)):
        want = x * 2 if x.sum() > 0 else x - 1
        chosen, divided = session.run(None, {"x": x})
        np.testing.assert_array_equal(chosen, want)
        np.testing.assert_allclose(divided, want / 2, rtol=1e-6)
