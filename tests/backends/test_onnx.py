"""The hub graph itself, run by our own evaluator."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import ClassVar

import onnx
import pytest
from contract import BackendContract

import backends
from compiler import bundle as bundles
from compiler.errors import UnavailableError


class TestOnnx(BackendContract):
    target = "onnx"
    runtime = "onnx"
    mistyped_option = None
    known_failures: ClassVar[Mapping[str, str]] = {
        "test_threads_are_honoured": "the evaluator is a judge, not a runtime; it has no settings",
        "test_a_bundle_runs_elsewhere_in_a_process_without_torch": "the evaluator computes with torch's kernels",
    }

    def take_away(self, runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def version(name: str) -> str:
            raise PackageNotFoundError(name)

        monkeypatch.setattr("backends.onnx.backend.version", version)

    def test_the_artifact_is_a_valid_onnx_file(self, compiled: Path) -> None:
        onnx.checker.check_model(compiled / "model.onnx", full_check=True)

    def test_nodes_remember_the_line_they_came_from(self, compiled: Path) -> None:
        model = onnx.load(compiled / "model.onnx")
        relu = next(node for node in model.graph.node if node.op_type == "Relu")
        (origin,) = json.loads({entry.key: entry.value for entry in relu.metadata_props}["plumbline.origins"])
        assert (Path(origin["path"]).name, origin["code"]) == ("mlp.py", "return self.down(torch.relu(self.up(x)))")

    def test_a_bundle_is_told_apart_from_a_runtime_where_torch_is_missing(
        self, compiled: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "compiler.ir.evaluate", None)
        with pytest.raises(UnavailableError) as caught:
            backends.load(compiled)
        assert caught.value.code == "missing-extra"
        assert "model.onnx" in str(caught.value.hint)

    def test_nothing_of_the_machine_that_made_it_is_in_the_file(self, compiled: Path) -> None:
        content = (compiled / "model.onnx").read_bytes()
        assert str(Path.home()).encode() not in content
        assert bundles.read(compiled).manifest["source"]["path"].encode() not in content
