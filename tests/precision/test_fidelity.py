"""A runtime must compute the graph that it was given, also where what was promised of the model would hold anyway."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from weight_graphs import build, normal

from compiler.cases import Case, Reference
from compiler.contracts import Arrays, Signature, TensorSpec
from compiler.ir.evaluate import Evaluator
from compiler.precision import promised
from compiler.precision.apply import Lowered, fidelity, lower_precision
from compiler.precision.recipe import Recipe
from compiler.validate.judge import judge
from compiler.verdicts import Terms

SIGNATURE = Signature((TensorSpec("x", "float32", (16, 64)),), (TensorSpec("y", "float32", (16, 64)),))


def model() -> ir.Model:
    return build("t = MatMul(x, w)  r = Relu(t)  y = MatMul(r, v)", w=normal(64, 96) / 8, v=normal(96, 64))


def data() -> list[Arrays]:
    return [{"x": normal(16, 64, seed=seed)} for seed in range(3)]


def reference() -> Reference:
    plain, precise = Evaluator(model(), precise=False), Evaluator(model(), precise=True)
    cases = [Case(f"case {number}", {}, one, plain(one), precise(one)) for number, one in enumerate(data())]
    return Reference(tuple(cases), "", 0)


@pytest.fixture(scope="module")
def lowered() -> Lowered:
    return lower_precision(model(), Recipe("int8", "static"), data())


def test_the_graph_itself_is_faithful(lowered: Lowered) -> None:
    _, verdict = fidelity(lowered, reference(), Evaluator(lowered.graph, precise=False))
    assert verdict.passed


def test_a_runtime_that_does_not_round_keeps_the_promise_and_is_not_faithful(lowered: Lowered) -> None:
    answer = Evaluator(model(), precise=False)
    terms = promised.completed(Terms(), SIGNATURE, "int8")
    kept = judge(reference(), answer, terms)
    _, faithful = fidelity(lowered, reference(), answer)
    assert kept.passed
    assert not faithful.passed
    both = promised.both(kept, faithful, terms, Terms())
    assert both.status == "failed"
    assert any("does not compute the graph" in note for note in both.notes)


def test_one_scale_that_is_off_by_a_hundredth_is_found(lowered: Lowered) -> None:
    graph = lowered.graph.clone()
    node = next(node for node in graph.graph if node.op_type == "DequantizeLinear")
    scale = node.inputs[1]
    assert scale is not None and scale.const_value is not None
    scale.const_value = ir.Tensor(np.asarray(scale.const_value.numpy() * np.float32(1.01)), name=scale.name)
    _, verdict = fidelity(lowered, reference(), Evaluator(graph, precise=False))
    assert not verdict.passed


def test_a_default_is_promised_of_what_nothing_was_asked_of() -> None:
    outputs = (TensorSpec("y", "float32", (4,)), TensorSpec("z", "float32", (4,)), TensorSpec("at", "int64", (4,)))
    several = Signature((), outputs)
    asked = promised.completed(Terms(), several, "int8").contract
    assert [clause.text for clause in asked] == ["y:cosine>=0.99", "z:cosine>=0.99", "at:equal>=0.9"]
    own = promised.completed(Terms(contract=(asked[0],)), several, "bfloat16").contract
    assert [clause.text for clause in own] == ["y:cosine>=0.99", "z:cosine>=0.999", "at:equal>=0.9"]
    tolerant = promised.completed(Terms(atol=0.1), several, "int8").contract
    assert [clause.text for clause in tolerant] == ["at:equal>=0.9"]
