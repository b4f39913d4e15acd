"""One small model of each kind, compiled for every target at once. The whole zoo is held by `make check`."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

import compiler
from compiler.errors import PlumblineError

ROOT = Path(__file__).resolve().parents[2]
TABLE: dict[str, Any] = runpy.run_path(str(ROOT / "models" / "table.py"))
MODELS: dict[str, dict[str, Any]] = TABLE["models"]()
SAMPLE = ("mobilenetv2", "gpt2", "lstm")

# What a target's own code may take beside the weights.
CODE = {"onnxruntime": 200_000, "onnx": 200_000, "openvino": 400_000, "tensorrt": 3_000_000, "tvm": 1_500_000}

Results = dict[str, compiler.Result | PlumblineError]


@pytest.fixture(scope="module", params=SAMPLE)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Results]:
    name = request.param
    targets = [*MODELS[name]["targets"], "onnx"]
    source = str(ROOT / TABLE["factory"](name, "small"))
    return name, compiler.compile_all(source, targets=targets, output=tmp_path_factory.mktemp("zoo"), name=name)


@pytest.mark.parametrize("target", list(CODE))
class TestEveryTarget:
    def test_it_computes_what_the_model_computes(self, model: tuple[str, Results], target: str) -> None:
        """At every size that was asked for. Where there is no NVIDIA GPU, an engine is built and not run."""
        name, results = model
        result = _made(results[target])
        assert result.verdict.status in (("passed", "not run") if target == "tensorrt" else ("passed",)), result.verdict
        assert result.verdict.outputs
        assert result.verdict.cases >= 2
        signature = result.manifest["artifact"]["signature"]
        dynamic = {dim["name"] for spec in signature["inputs"] for dim in spec["dims"] if isinstance(dim, dict)}
        asked = MODELS[name].get("small_inputs", MODELS[name]["inputs"])
        assert dynamic == {part.split("=")[0] for spec in asked for part in _ranges(spec)}, "a dim came out fixed"

    def test_nothing_is_stored_twice(self, model: tuple[str, Results], target: str) -> None:
        """GPT-2's head is its embedding."""
        name, results = model
        result = _made(results[target])
        module = runpy.run_path(str(ROOT / MODELS[name]["file"]))["small"]()[0]
        weights = sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
        stored = sum((result.folder / file).stat().st_size for file in result.manifest["artifact"]["files"])
        assert stored <= 1.1 * weights + CODE[target]


def _made(result: compiler.Result | PlumblineError) -> compiler.Result:
    assert isinstance(result, compiler.Result), (result, result.details())
    return result


def _ranges(spec: str) -> list[str]:
    return [part for part in spec.partition("[")[2].rstrip("]").split(",") if ".." in part]
