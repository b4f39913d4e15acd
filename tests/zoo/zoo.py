"""The small zoo, end to end: what a test file needs to compile some of its models for every target."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

import compiler
from compiler.errors import PlumblineError

ROOT = Path(__file__).resolve().parents[2]
TABLE: dict[str, Any] = runpy.run_path(str(ROOT / "models" / "table.py"))
MODELS: dict[str, dict[str, Any]] = TABLE["models"]()

# Built for real, but run where there is an NVIDIA GPU only.
MAY_ONLY_BE_BUILT = ("tensorrt",)


def of(*families: str) -> list[Any]:
    """Each model of these families with each of its targets."""
    return [
        pytest.param(name, target, id=f"{name}-{target}")
        for name, entry in MODELS.items()
        if entry["family"] in families
        for target in (*entry["targets"], "onnx")
    ]


def everything_else(*families: str) -> list[Any]:
    return of(*({entry["family"] for entry in MODELS.values()} - set(families)))


class Zoo:
    """A model is compiled once, for all of its targets; the tests look at one target each."""

    _compiled: ClassVar[dict[str, dict[str, compiler.Result | PlumblineError]]] = {}

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
        yield tmp_path_factory.mktemp("zoo")
        cls._compiled.clear()

    def result(self, name: str, target: str, folder: Path) -> compiler.Result:
        if name not in self._compiled:
            targets = [*MODELS[name]["targets"], "onnx"]
            source = str(ROOT / TABLE["factory"](name, "small"))
            self._compiled[name] = compiler.compile_all(source, targets=targets, output=folder, name=name)
        result = self._compiled[name][target]
        assert isinstance(result, compiler.Result), (result, result.details())
        return result

    def check(self, name: str, target: str, folder: Path) -> None:
        """It computes what the model computes, at every size that was asked for."""
        result = self.result(name, target, folder)
        if target in MAY_ONLY_BE_BUILT:
            assert result.verdict.status in ("passed", "not run"), result.verdict
        else:
            assert result.verdict.status == "passed", result.verdict
        assert result.verdict.outputs
        assert result.verdict.cases >= 2
        signature = result.manifest["artifact"]["signature"]
        dynamic = {dim["name"] for spec in signature["inputs"] for dim in spec["dims"] if isinstance(dim, dict)}
        asked = MODELS[name].get("small_inputs", MODELS[name]["inputs"])
        assert dynamic == {part.split("=")[0] for spec in asked for part in _ranges(spec)}, "a dim came out fixed"


def _ranges(spec: str) -> list[str]:
    return [part for part in spec.partition("[")[2].rstrip("]").split(",") if ".." in part]
