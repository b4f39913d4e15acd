"""`compile inspect MODEL --targets`, and what an error says about the other targets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import backends
import compiler
from compiler.cli.main import run
from compiler.contracts import Unavailable
from compiler.errors import CompileError

MODEL = """\
import torch


class Model(torch.nn.Module):
    def forward(self, x):
        y = torch.nn.functional.group_norm(x, 2)
        return torch.erf(y.double())


def build():
    return Model()
"""
INPUT = "x:float32[2,4]"


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "wide.py"
    path.write_text(MODEL)
    return f"{path}:build"


def test_the_table_names_what_is_refused_and_the_line(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", model, "--targets", "-i", INPUT, "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert "GroupNormalization" in shown
    assert "onnxruntime does not take Erf: ONNX Runtime has no kernel of it for tensor(double)" in shown
    assert "wide.py:7" in shown


def test_the_same_as_json(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", model, "--targets", "-i", INPUT, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["operators"]["Erf"] == 1
    assert list(told["targets"]) == list(backends.names())
    refusing = told["targets"]["onnxruntime"]
    assert (refusing["takes_model"], refusing["operators"]["Erf"]) == (False, "no")
    assert refusing["operators"]["GroupNormalization"] in ("yes", "expanded")
    assert "wide.py:7" in refusing["where"]
    assert told["targets"]["onnx"]["takes_model"] is True


def test_a_target_that_is_not_installed_says_how_to_get_it(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from backends.openvino.backend import OpenVino

    monkeypatch.setattr(OpenVino, "probe", lambda self: Unavailable("it is not there", "pip install it"))
    assert run(["inspect", model, "--targets", "-i", INPUT, "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert "openvino is not known here: it is not there" in shown
    assert "try: pip install it" in shown


def test_inputs_are_for_capturing_only(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", model, "-i", INPUT]) == 2
    assert "--targets" in capsys.readouterr().err


def test_a_refusal_names_the_targets_that_take_the_node(model: str, tmp_path: Path) -> None:
    with pytest.raises(CompileError) as caught:
        compiler.compile(model, [INPUT], target="onnxruntime", output=tmp_path / "out")
    assert caught.value.code == "unsupported-op"
    named = str(caught.value.hint).partition(", or")[0]
    assert "onnx" in named.split()
    assert "openvino" not in named  # it refuses float64
