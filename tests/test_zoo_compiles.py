"""The small zoo, end to end: every model compiles, and what comes out computes what it computes."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

import compiler

ROOT = Path(__file__).resolve().parents[1]
TABLE: dict[str, Any] = runpy.run_path(str(ROOT / "models" / "table.py"))
ZOO: dict[str, dict[str, Any]] = TABLE["models"]()


def compiled(name: str, target: str, folder: Path) -> compiler.Result:
    reference = ROOT / TABLE["factory"](name, "small")
    return compiler.compile(str(reference), target=target, output=folder, name=name)


@pytest.mark.parametrize("name", ZOO)
def test_onnxruntime_computes_what_the_model_computes(name: str, tmp_path: Path) -> None:
    result = compiled(name, "onnxruntime", tmp_path)
    assert result.passed, result.verdict
    assert result.verdict.cases >= 2
    signature = result.manifest["artifact"]["signature"]
    dynamic = {dim["name"] for spec in signature["inputs"] for dim in spec["dims"] if isinstance(dim, dict)}
    asked = {part.split("=")[0] for spec in ZOO[name].get("small_inputs", ZOO[name]["inputs"]) for part in ranges(spec)}
    assert dynamic == asked, "every dim that was asked to be dynamic is dynamic in the artifact"


def ranges(spec: str) -> list[str]:
    return [part for part in spec.partition("[")[2].rstrip("]").split(",") if ".." in part]


@pytest.mark.parametrize("name", ["bert", "resnet50", "lstm", "gnn", "llama", "detection"])
def test_the_graph_itself_is_proven_on_the_evaluator(name: str, tmp_path: Path) -> None:
    assert compiled(name, "onnx", tmp_path).passed


def test_weights_are_stored_once(tmp_path: Path) -> None:
    """GPT-2's head is its embedding."""
    result = compiled("gpt2", "onnxruntime", tmp_path)
    unique = runpy.run_path(str(ROOT / "models" / "gpt2.py"))["small"]()[0]
    weights = sum(parameter.numel() * 4 for parameter in unique.parameters())
    assert (result.folder / "model.onnx").stat().st_size <= 1.05 * weights + 200_000
