from __future__ import annotations

import onnx_ir as ir
from check import parse

from compiler.contracts import Legality
from compiler.errors import CompileError
from compiler.ir.text import to_text
from compiler.passes.coverage import coverage, operators

GRAPH = """<ir_version: 10, opset_import: ["" : 24]>
g (float[2,4] x) => (float[2,4] y) { t = Gelu(x)  y = Add(t, t) }"""


class Refusing(ir.passes.InPlacePass):
    def call(self, model: ir.Model) -> ir.passes.PassResult:
        raise CompileError("unsupported-op", "no", why="the network is too deep")


def test_operators_are_taken_as_they_are_or_through_their_body() -> None:
    model = parse(GRAPH)
    before = to_text(model)
    found = coverage(model, "it", Legality({"": 24}, {"Gelu": "no kernel"}), ())
    assert (found.taken, dict(found.as_is), dict(found.expanded)) == (True, {"Add": 1}, {"Gelu": 1})
    assert to_text(model) == before
    assert operators(model) == {"Add": 1, "Gelu": 1}


def test_what_has_no_body_is_refused_with_the_reason_and_the_place() -> None:
    found = coverage(parse(GRAPH), "it", Legality({"": 24}, {"Add": "no adder"}), ())
    assert not found.taken
    assert dict(found.refused) == {"Add": "no adder"}
    assert found.where.startswith("Add")
    assert "Add" not in found.as_is


def test_a_type_is_refused_by_its_name() -> None:
    found = coverage(parse(GRAPH), "it", Legality({"": 24}, dtypes={"float32": "too narrow"}), ())
    assert dict(found.refused) == {"float32": "too narrow"}
    assert not found.taken


def test_a_targets_own_passes_may_refuse_too() -> None:
    found = coverage(parse(GRAPH), "it", Legality({"": 24}), (Refusing(),))
    assert not found.taken
    assert dict(found.refused) == {"the model": "the network is too deep"}
    assert dict(found.as_is) == {"Add": 1, "Gelu": 1}
