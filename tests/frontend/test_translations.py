"""Operators of a user's own, translated by a table of the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

import compiler
from compiler.cli.main import run
from compiler.errors import CompileError, UsageError

MODEL = """\
import torch


@torch.library.custom_op("plumbline_tests::smooth_step", mutates_args=())
def smooth_step(x: torch.Tensor, edge: float) -> torch.Tensor:
    t = (x / edge).clamp(0, 1)
    return t * t * (3 - 2 * t)


@smooth_step.register_fake
def _(x, edge):
    return torch.empty_like(x)


class Model(torch.nn.Module):
    def forward(self, x):
        return torch.ops.plumbline_tests.smooth_step(x, 0.5) + 1


def build():
    return Model()
"""
TABLE = """\
import onnxscript
import torch
from onnxscript import opset23 as op


def smooth_step(x, edge: float):
    t = op.Clip(op.Div(x, op.Constant(value_float=edge)), op.Constant(value_float=0.0), op.Constant(value_float=1.0))
    return op.Mul(op.Mul(t, t), op.Sub(op.Constant(value_float=3.0), op.Mul(op.Constant(value_float=2.0), t)))


TABLE = {torch.ops.plumbline_tests.smooth_step.default: smooth_step}
PACKETS = {torch.ops.plumbline_tests.smooth_step: smooth_step}
SEVERAL = {torch.ops.aten.add: smooth_step}
NOT_CALLABLE = {torch.ops.plumbline_tests.smooth_step.default: "smooth_step"}
UNKNOWN = {"smooth_step": smooth_step}
EMPTY = {}
NUMBER = 3
"""
INPUT = "x:float32[n=1..4,8]"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One file for all tests: an operator can be registered only once in a process."""
    path = tmp_path_factory.mktemp("custom") / "custom_model.py"
    path.write_text(MODEL)
    (path.parent / "custom_table.py").write_text(TABLE)
    return f"{path}:build"


def table(model: str, name: str) -> str:
    return f"{Path(model.partition(':')[0]).parent / 'custom_table.py'}:{name}"


def test_without_a_translation_the_operator_is_named(model: str, tmp_path: Path) -> None:
    with pytest.raises(CompileError) as caught:
        compiler.compile(model, [INPUT], target="onnxruntime", output=tmp_path)
    assert caught.value.code == "export-failed"
    assert "smooth_step" in str(caught.value.why)
    assert "--translate" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["TABLE", "PACKETS"])
def test_with_a_translation_it_is_proven_like_any_other(
    model: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [model, "-t", "onnxruntime", "-i", INPUT, "-o", str(tmp_path), "--translate", table(model, name), "-q"]
    assert run(words) == 0
    assert "computes what the model computes" in " ".join(capsys.readouterr().out.split())


def test_a_wrong_translation_is_caught_by_the_numbers(model: str, tmp_path: Path) -> None:
    right = Path(table(model, "").rpartition(":")[0]).read_text()
    wrong = tmp_path / "wrong_table.py"
    wrong.write_text(right.replace("value_float=2.0", "value_float=2.01"))
    result = compiler.compile(model, [INPUT], target="onnxruntime", output=tmp_path / "out", translate=f"{wrong}:TABLE")
    assert not result.passed


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("SEVERAL", "name one of them"),
        ("NOT_CALLABLE", "is no function"),
        ("UNKNOWN", "no operator of torch"),
        ("EMPTY", "it is empty"),
        ("NUMBER", "it is a int"),
    ],
)
def test_what_is_no_table_is_refused(model: str, name: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        compiler.compile(model, [INPUT], target="onnxruntime", output=tmp_path, translate=table(model, name))
    assert caught.value.code == "bad-translations"
    assert why in str(caught.value.why)


def test_an_onnx_file_needs_none(tmp_path: Path) -> None:
    import onnx

    text = '<ir_version: 10, opset_import: ["" : 21]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    with pytest.raises(UsageError) as caught:
        compiler.compile(tmp_path / "m.onnx", target="onnxruntime", output=tmp_path, translate={"a": len})
    assert caught.value.code == "bad-translations"
