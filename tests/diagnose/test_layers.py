"""Where precision is lost: the places that are looked at, and the error at each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import backends
from compiler.cases import Case
from compiler.contracts import Arrays
from compiler.diagnose.layers import THE_GRAPH, layers, places
from compiler.diagnose.runtime import Runtime
from compiler.ir.evaluate import Evaluator
from compiler.ir.provenance import ORIGINS

TEXT = """
<ir_version: 10, opset_import: ["" : 24]>
net (float[n, 4] x) => (float[n, 4] y) {
    a = Sin(x)
    b = Exp(a)
    i = Cast<to=7>(b)
    c = Mul(b, b)
    y = Tanh(c)
}
"""
MODULES = {"Sin": "stem", "Exp": "body.0", "Cast": "body.1", "Mul": "body.1", "Tanh": "head"}
INPUTS = {"x": np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)}
CASE = Case("n=3", {"n": 3}, INPUTS, {}, {})


def model(*, modules: bool = True) -> ir.Model:
    from compiler.passes.infer_shapes import InferShapes

    net = ir.from_onnx_text(TEXT)
    for node in net.graph if modules else ():
        node.metadata_props[ORIGINS] = json.dumps([{"module": MODULES[node.op_type], "path": "net.py", "line": 7}])
    return InferShapes()(net).model


class Wrong(Runtime):
    """A target that multiplies otherwise."""

    def __call__(self, model: ir.Model, inputs: Arrays) -> dict[str, np.ndarray]:
        answer = Evaluator(model, precise=False)(inputs)
        return {name: array * np.float32(1.001) if name == "c" else array for name, array in answer.items()}


class Refusing(Runtime):
    def __call__(self, model: ir.Model, inputs: Arrays) -> None:
        return None


def runtime(kind: type[Runtime], folder: Path) -> Runtime:
    return kind(backends.get("onnxruntime"), {}, {}, folder)


@pytest.mark.parametrize(
    ("most", "values"), [(9, ["a", "b", "c", "y"]), (4, ["a", "b", "c", "y"]), (3, ["a", "c", "y"]), (2, ["a", "y"])]
)
def test_as_deep_into_the_modules_as_there_is_room(most: int, values: list[str]) -> None:
    assert [place.value for place in places(model(), most)] == values


def test_without_modules_at_even_distances() -> None:
    assert [place.value for place in places(model(modules=False), 9)] == ["a", "b", "c", "y"]
    assert [place.value for place in places(model(modules=False), 2)] == ["a", "y"]


def test_a_place_says_where_it_comes_from() -> None:
    place = places(model())[1]
    assert (place.module, place.operator, place.line) == ("body.0", "Exp", "net.py:7")


def test_an_error_shows_where_it_begins(tmp_path: Path) -> None:
    found = layers(model(), CASE, "wrong", runtime(Wrong, tmp_path))
    assert [place["value"] for place in found["places"]] == ["a", "b", "c", "y"]
    assert all(0 < error < 1e-6 for error in found["errors"][THE_GRAPH])
    a, b, c, y = found["errors"]["wrong"]
    assert (a, b) == tuple(found["errors"][THE_GRAPH][:2])
    assert c == pytest.approx(1e-3, rel=1e-2)
    assert y == found["errors"][THE_GRAPH][3]


def test_a_runtime_is_asked_for_the_values_inside(tmp_path: Path) -> None:
    found = layers(model(), CASE, "onnxruntime", runtime(Runtime, tmp_path))
    assert all(0 < error < 1e-6 for error in found["errors"]["onnxruntime"])
    assert "could fuse nothing across them" in found["told"]


def test_a_runtime_may_refuse(tmp_path: Path) -> None:
    found = layers(model(), CASE, "onnxruntime", runtime(Refusing, tmp_path))
    assert list(found["errors"]) == [THE_GRAPH]
    assert "does not take the graph" in found["told"]
