from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from graphs import parse

from compiler.contracts import Dim, Signature, TensorSpec
from compiler.errors import CompileError, InternalError
from compiler.ir.verify import signature_of, verify

TEXT = """
<ir_version: 10, opset_import: ["" : 24, "my" : 1]> g (float[batch, 4] x, bool c) => (float[batch, 4] y)
<float[4] w = {1, 2, 3, 4}> {
  h = Mul(x, w)
  k = my.twice(h)
  y = If(c) <then_branch = t () => (float[batch, 4] a) { a = Neg(k) },
             else_branch = f () => (float[batch, 4] b) { e = Neg(k)  b = Neg(e) }>
}
<domain: "my", opset_import: ["" : 24]> twice (x) => (y) { y = Add(x, x) }
"""


def branch(model: ir.Model, name: str) -> ir.Graph:
    return model.graph[2].attributes[name].as_graph()


def test_a_sound_graph_passes() -> None:
    verify(parse(TEXT))
    verify(parse(TEXT).clone())


def wrong_order(model: ir.Model) -> None:
    first = model.graph[0]
    model.graph.remove(first)
    model.graph.append(first)


def inner_value_used_outside(model: ir.Model) -> None:
    model.graph[1].replace_input_with(0, branch(model, "else_branch")[0].outputs[0])


def value_of_the_other_branch(model: ir.Model) -> None:
    branch(model, "then_branch")[0].replace_input_with(0, branch(model, "else_branch")[0].outputs[0])


def name_used_twice(model: ir.Model) -> None:
    branch(model, "else_branch")[0].outputs[0].name = "h"


def weight_without_value(model: ir.Model) -> None:
    model.graph.initializers["w"].const_value = None


def domain_without_opset(model: ir.Model) -> None:
    del model.graph.opset_imports["my"]


def function_that_is_gone(model: ir.Model) -> None:
    model.functions.clear()
    model.functions[("my", "other", "")] = parse(TEXT).functions[("my", "twice", "")]


def function_that_calls_itself(model: ir.Model) -> None:
    function = model.functions[("my", "twice", "")]
    function.opset_imports["my"] = 1
    function[0].op_type, function[0].domain = "twice", "my"


def operator_that_does_not_exist(model: ir.Model) -> None:
    model.graph[0].op_type = "Multiply"


def operator_of_a_later_opset(model: ir.Model) -> None:
    model.graph[0].op_type = "BitCast"


def untyped_output(model: ir.Model) -> None:
    model.graph.outputs[0].type = None


def output_from_nowhere(model: ir.Model) -> None:
    model.graph.outputs[0] = ir.val("lost", ir.DataType.FLOAT, [1])


def use_by_a_removed_node(model: ir.Model) -> None:
    node = ir.node("Neg", [model.graph.inputs[0]])
    model.graph.append(node)
    model.graph.remove(node)


def unnamed_value(model: ir.Model) -> None:
    model.graph[0].outputs[0].name = None


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (wrong_order, "'h', is not defined before the node"),
        (inner_value_used_outside, "'e', is not defined before the node"),
        (value_of_the_other_branch, "'e', is not defined before the node"),
        (name_used_twice, "'h' is defined twice"),
        (weight_without_value, "initializer 'w' has no value"),
        (domain_without_opset, "domain 'my' has no opset import"),
        (function_that_is_gone, "no function my::twice"),
        (function_that_calls_itself, "my::twice calls itself"),
        (operator_that_does_not_exist, "has no Multiply"),
        (operator_of_a_later_opset, "has no BitCast"),
        (untyped_output, "output 'y' has no type"),
        (output_from_nowhere, "output 'lost' is not defined"),
        (use_by_a_removed_node, "'x' counts 1 uses by nodes that are not in the graph"),
        (unnamed_value, "a value has no name"),
    ],
)
def test_damage_is_found(damage: Callable[[ir.Model], None], why: str) -> None:
    model = parse(TEXT)
    damage(model)
    with pytest.raises(InternalError) as caught:
        verify(model)
    assert caught.value.code == "broken-graph"
    assert why in (caught.value.why or "")


def test_many_nodes_take_little_time() -> None:
    """One value with many users is what makes a careless verifier quadratic."""
    x = ir.val("x", ir.DataType.FLOAT, [1])
    nodes = [ir.node("Neg", [x]) for _ in range(20_000)]
    nodes[-1].outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([x], nodes[-1].outputs, nodes=nodes, opset_imports={"": 24})
    verify(ir.Model(graph, ir_version=10))


def test_the_signature() -> None:
    batch = Dim("batch", 1, 8)
    assert signature_of(parse(TEXT), {"batch": batch}) == Signature(
        (TensorSpec("x", "float32", (batch, 4)), TensorSpec("c", "bool", ())),
        (TensorSpec("y", "float32", (batch, 4)),),
    )
    assert signature_of(parse(TEXT)).inputs[0].dims == ("batch", 4)


def test_types_keep_their_names() -> None:
    model = parse("(float[n] x) => (float[n] y) { y = Neg(x) }")
    names = {
        ir.DataType.BFLOAT16: "bfloat16",
        ir.DataType.FLOAT8E4M3FN: "float8_e4m3fn",
        ir.DataType.UINT4: "uint4",
        ir.DataType.STRING: "string",
    }
    for dtype, name in names.items():
        model.graph.inputs[0].type = ir.TensorType(dtype)
        assert signature_of(model).inputs[0].dtype == name


def test_an_output_dim_may_be_an_expression() -> None:
    model = parse("(float[n] x) => (float[m] y) { y = Neg(x) }")
    model.graph.outputs[0].shape = ir.Shape([ir.SymbolicDim("2*n + 1")])
    assert signature_of(model, {"n": Dim("n", 1, 4)}).outputs[0].dims == ("2*n + 1",)


def test_only_tensors_of_known_rank_have_a_signature() -> None:
    model = parse("(float[n] x) => (float[n] y) { y = Neg(x) }")
    model.graph.inputs[0].shape = None
    with pytest.raises(CompileError) as caught:
        signature_of(model)
    assert (caught.value.where, caught.value.why) == ("'x'", "its type is float32[...]")


def test_an_initializer_is_no_input_of_the_signature() -> None:
    model = parse("(float[1] x, float[1] w = {5}) => (float[1] y) { y = Mul(x, w) }")
    assert [spec.name for spec in signature_of(model).inputs] == ["x"]
    assert np.asarray(model.graph.initializers["w"].const_value) == 5
