"""Probes against real and misbehaving runtimes: what a probe does to a runtime is a finding, never the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import MLP_INPUT

import compiler
from compiler import bundle as bundles


def differing(result: compiler.api.Result) -> dict[str, str]:
    return {edge.probe: edge.how for edge in result.verdict.edges if not edge.same}


@pytest.mark.usefixtures("third_party")
def test_a_probe_that_kills_the_runtime_is_a_finding_of_that_probe(
    mlp_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compiler.validate.edges.PATIENCE", 5.0)
    result = compiler.compile(f"{mlp_file}:build", [MLP_INPUT], target="fragile", output=tmp_path)
    assert result.passed
    assert differing(result) == {
        "NaN in x": "fragile crashed in run",
        "+Inf in x": "fragile did not answer within 5 s and was stopped",
        "-Inf in x": "fragile failed to run",
        "a row of -Inf in x": "fragile failed to run",
    }
    assert [edge.probe for edge in result.verdict.edges if edge.same] == ["ties", "denormals"]
    assert [path.name for path in tmp_path.iterdir()] == ["mlp.fragile"]
    report = (result.folder / bundles.REPORT).read_text()
    assert "| NaN in x |  | an answer | **differs**: fragile crashed in run (signal SIGSEGV" in report


@pytest.mark.parametrize(("strict", "name"), [(False, "mlp.openvino"), (True, "mlp.openvino.rejected")])
def test_a_nan_that_openvinos_relu_swallows(mlp_file: Path, tmp_path: Path, strict: bool, name: str) -> None:
    settings: dict[str, Any] = {"target": "openvino", "output": tmp_path, "strict_edges": strict}
    result = compiler.compile(f"{mlp_file}:build", [MLP_INPUT], **settings)
    assert result.passed != strict
    assert result.folder.name == name
    assert differing(result)["NaN in x"] == "a number for a NaN"
    assert ("--strict-edges" in (result.folder / bundles.REPORT).read_text()) == strict
