"""A query that may look nowhere gives 0, as in PyTorch, and not the mean of the values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from check import apply, check_unchanged, parse
from hub import hub

from compiler.contracts import Source
from compiler.frontend.onnx_program import OnnxProgram
from compiler.ir.evaluate import Evaluator
from compiler.passes.repair_masked_rows import RepairMaskedRows
from compiler.quiet import quiet

LOWEST = np.finfo(np.float32).min


class Masked(torch.nn.Module):
    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def arguments() -> tuple[torch.Tensor, ...]:
    random = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 2, 3, 8, generator=random) for _ in range(3))
    mask = torch.ones(2, 1, 3, 3, dtype=torch.bool)
    mask[0, :, 1] = False
    return q, k, v, mask


def exported(opset: int, *, dynamo: bool, folder: Path) -> Path:
    file = folder / "model.onnx"
    names = ["q", "k", "v", "mask"]
    with quiet():
        torch.onnx.export(
            Masked(), arguments(), file, dynamo=dynamo, opset_version=opset, input_names=names, optimize=False
        )
    return file


def run(model: ir.Model) -> np.ndarray:
    given = {name: tensor.numpy() for name, tensor in zip(["q", "k", "v", "mask"], arguments(), strict=True)}
    (result,) = Evaluator(model, precise=False)(given).values()
    return result


@pytest.mark.parametrize("opset", [18, 22])
def test_what_the_exporter_writes_is_repaired(opset: int, tmp_path: Path) -> None:
    model = ir.load(exported(opset, dynamo=True, folder=tmp_path))
    right = Masked()(*arguments()).numpy()
    assert (right[0, :, 1] == 0).all()
    mean = arguments()[2][0].mean(dim=1).numpy()
    np.testing.assert_allclose(run(model)[0, :, 1], mean, rtol=1e-6, err_msg="the exporter has learned it")
    assert RepairMaskedRows()(model).modified
    np.testing.assert_allclose(run(model), right, rtol=1e-5, atol=1e-6)
    assert not RepairMaskedRows()(model).modified


@pytest.mark.parametrize(("opset", "dynamo"), [(24, True), (14, False), (20, False)])
def test_what_is_right_already_stays(opset: int, dynamo: bool, tmp_path: Path) -> None:
    model = ir.load(exported(opset, dynamo=dynamo, folder=tmp_path))
    assert not RepairMaskedRows()(model).modified
    np.testing.assert_allclose(run(model), Masked()(*arguments()).numpy(), rtol=1e-5, atol=1e-6)


def test_a_file_is_repaired_when_it_is_read(tmp_path: Path) -> None:
    program = OnnxProgram(Source(str(exported(18, dynamo=True, folder=tmp_path)), "onnx", ""))
    given = {name: tensor.numpy() for name, tensor in zip(["q", "k", "v", "mask"], arguments(), strict=True)}
    (answer,) = program.run(given, precise=False).values()
    np.testing.assert_allclose(answer, Masked()(*arguments()).numpy(), rtol=1e-5, atol=1e-6)
    assert "repaired" in program.source.facts


S = "(float[2,3] s, bool[2,3] m) => (float[2,3] y)"
CONSTANTS = ("float zero = {0}", f"float low = {{{LOWEST}}}", "float high = {-10000}")
BODY = "f = Where(m, zero, low) a = Add(s, f) p = Softmax(a) n = IsNaN(p) y = Where(n, zero, p)"


def test_a_mask_that_others_use_stays_for_them() -> None:
    text = hub("(float[2,3] s, bool[2,3] m) => (float[2,3] y, float[2,3] z)", BODY + " z = Neg(f)", *CONSTANTS)
    model = parse(text)
    assert apply(RepairMaskedRows(), model)
    given = {"s": np.ones((2, 3), np.float32), "m": np.array([[True, False, True], [False] * 3])}
    found = Evaluator(model, precise=False)(given)
    np.testing.assert_allclose(found["y"], [[0.5, 0, 0.5], [0, 0, 0]])
    np.testing.assert_allclose(found["z"], np.where(given["m"], 0, -LOWEST))


@pytest.mark.parametrize(
    "body",
    [
        "f = Where(m, zero, low) a = Add(s, f) y = Softmax(a)",
        BODY.replace("low", "high"),
        BODY.replace("Where(n, zero, p)", "Where(n, high, p)"),
        BODY.replace("Where(m, zero, low)", "Where(m, low, zero)"),
        BODY.replace("IsNaN(p)", "IsNaN(s)"),
    ],
)
def test_other_masks_are_left_alone(body: str) -> None:
    """Without the guard the lowest number may be what was meant: transformers' eager attention computes the mean."""
    check_unchanged(RepairMaskedRows(), hub(S, body, *CONSTANTS))
