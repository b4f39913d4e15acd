"""`--precision` from end to end: both verdicts, what is written down, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compiler
from compiler import api
from compiler.contracts import Ready, Unavailable
from compiler.errors import UnavailableError, UsageError
from compiler.precision.recipe import Recipe

MODEL = """\
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 16, 3, padding=1)
        self.head = torch.nn.Linear(16, 10)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))


def build():
    torch.manual_seed(0)
    return Net()
"""
INPUT = "x:float32[batch=1..16,3,8,8]"


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("net") / "net.py"
    path.write_text(MODEL)
    return f"{path}:build"


def data(count: int = 96) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.standard_normal((8, 3, 8, 8)).astype(np.float32)} for _ in range(count // 8)]


def lowered(net: str, out: Path, target: str = "onnxruntime", **settings: Any) -> api.Result:
    given = {"precision": "int8", "calibration": data(), **settings}
    return compiler.compile(net, [INPUT], target=target, output=out, **given)


@pytest.fixture(scope="module")
def bundle(net: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = lowered(net, tmp_path_factory.mktemp("int8"))
    assert result.passed
    return result.folder


def manifest(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "manifest.json").read_text()))


def test_both_verdicts_stand_in_the_manifest(bundle: Path) -> None:
    told = manifest(bundle)
    assert told["terms"]["contract"] == ["output:cosine>=0.99"]
    (promise,) = told["verdict"]["outputs"][0]["promises"]
    assert 0.99 <= promise["worst"] < 1.0
    low = told["precision"]
    assert low["fidelity"]["status"] == "passed"
    assert {layer["precision"] for layer in low["layers"]} == {"int8"}
    assert 8 < low["layers"][0]["bits"] < 10
    assert "computes its own graph" in (bundle / "report.md").read_text()


def test_only_what_was_held_back_is_judged(bundle: Path) -> None:
    assert all(name.startswith("calibration data") for name in manifest(bundle)["reference"]["cases"])


def test_verify_holds_it_to_both_again(bundle: Path) -> None:
    assert api.verify(bundle).passed


def test_a_contract_that_is_not_kept_is_a_rejection(net: str, tmp_path: Path) -> None:
    result = lowered(net, tmp_path, contract="cosine>=0.99999999")
    assert not result.passed
    assert result.folder.name.endswith(".rejected")
    assert result.diagnosis is None
    (promise,) = manifest(result.folder)["verdict"]["outputs"][0]["promises"]
    assert not promise["passed"]


@pytest.mark.parametrize("target", ["onnxruntime", "openvino", "tvm", "onnx"])
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_every_target_that_runs_keeps_both(net: str, tmp_path: Path, target: str, precision: str) -> None:
    if isinstance(api.registry.probe(target), Unavailable):
        pytest.skip(f"{target} is not installed")
    result = lowered(net, tmp_path, target, precision=precision, contract="cosine>=0.95")
    assert result.passed, result.verdict.notes
    assert manifest(result.folder)["precision"]["fidelity"]["status"] == "passed"


def test_an_engine_for_another_machine_gets_signed_bytes(net: str, tmp_path: Path) -> None:
    state = api.registry.probe("tensorrt")
    if not isinstance(state, Ready):
        pytest.skip("TensorRT is not installed")
    result = lowered(net, tmp_path, "tensorrt")
    assert result.passed, (result.verdict.notes, manifest(result.folder)["precision"]["fidelity"])
    assert manifest(result.folder)["precision"]["signed"]


def test_what_is_kept_is_told(net: str, tmp_path: Path) -> None:
    result = lowered(net, tmp_path, precision=Recipe("int8", keep=("conv",)), verify=False)
    layers = {layer["operator"]: layer for layer in manifest(result.folder)["precision"]["layers"]}
    assert layers["Conv"]["precision"] == "float32"
    assert layers["Conv"]["why"] == "--keep names it"


def test_two_runs_give_one_graph(net: str, tmp_path: Path) -> None:
    graphs = [
        (lowered(net, tmp_path / str(number), verify=False).folder / "model.onnx").read_bytes() for number in range(2)
    ]
    assert graphs[0] == graphs[1]


def test_a_precision_that_the_target_lacks_is_told_before_the_build(net: str, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        compiler.compile(net, [INPUT], target="onnxruntime", precision="bf16", output=tmp_path)
    assert caught.value.code == "precision-unavailable"
    assert "openvino" in str(caught.value.hint)
    assert not list(tmp_path.iterdir())


def test_data_that_does_not_fit_is_refused(net: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has shape"):
        lowered(net, tmp_path, calibration=[{"x": np.zeros((8, 3, 9, 9), np.float32)}])
    with pytest.raises(UsageError, match="needs data"):
        lowered(net, tmp_path, precision=Recipe("int8", "static"), calibration=None)
    assert not list(tmp_path.iterdir())
