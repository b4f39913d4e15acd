from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from check import apply, draw, parse, same_numbers

from compiler.contracts import Legality
from compiler.errors import CompileError
from compiler.ir.provenance import NAME_SCOPES, describe, origins
from compiler.ir.text import to_text
from compiler.ir.verify import verify
from compiler.passes.legalize import Legalize

HUB = 24
HEADER = f'<ir_version: 10, opset_import: ["" : {HUB}]> g '


def refusing(*operators: str, opset: int = HUB) -> Legality:
    return Legality({"": opset}, {operator: f"it has no {operator}" for operator in operators})


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in ir.traversal.RecursiveGraphIterator(model.graph)]


def run_in_onnxruntime(model: ir.Model, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def check_expanded(text: str, legality: Legality, *gone: str, inputs: Any = None, in_runtime: bool = True) -> ir.Model:
    """The operators are gone, and everything else is as it was; the result is handed back."""
    model, original = parse(HEADER + text), parse(HEADER + text)
    assert apply(Legalize(legality), model)
    assert not set(gone) & set(operators(model))
    assert all(any(value.uses() or value.is_graph_output() for value in node.outputs) for node in model.graph)
    assert not apply(Legalize(legality), model), "the second run still changed something"
    given = draw(original) if inputs is None else inputs
    # The definitions cast to float32 inside; in float64 they do not.
    same_numbers(original, model, given, precise=1e-7)
    if in_runtime:
        want, have = run_in_onnxruntime(original, given), run_in_onnxruntime(model, given)
        for name in want:
            np.testing.assert_allclose(have[name], want[name], rtol=1e-4, atol=1e-5)
    return model


@pytest.mark.parametrize(
    ("operator", "text"),
    [
        (
            "LayerNormalization",
            "(float[n,6,8] x, float[8] s, float[8] b) => (float[n,6,8] y) { y = LayerNormalization(x, s, b) }",
        ),
        (
            "LayerNormalization",
            "(float[n,8] x, float[8] s) => (float[n,8] y) { y = LayerNormalization<epsilon = 0.1>(x, s) }",
        ),
        (
            "LayerNormalization",
            "(float[2,3,4] x, float[3,4] s) => (float[2,3,4] y, float[2,1,1] m, float[2,1,1] i) "
            "{ y, m, i = LayerNormalization<axis = 1>(x, s) }",
        ),
        ("RMSNormalization", "(float[n,8] x, float[8] s) => (float[n,8] y) { y = RMSNormalization(x, s) }"),
        (
            "GroupNormalization",
            "(float[n,4,5] x, float[4] s, float[4] b) => (float[n,4,5] y) "
            "{ y = GroupNormalization<num_groups = 2>(x, s, b) }",
        ),
        ("Gelu", "(float[n] x) => (float[n] y) { y = Gelu(x) }"),
        ("Gelu", '(float[n] x) => (float[n] y) { y = Gelu<approximate = "tanh">(x) }'),
        ("Swish", "(float[n] x) => (float[n] y) { y = Swish(x) }"),
        ("Swish", "(float[n] x) => (float[n] y) { y = Swish<alpha = 1.5>(x) }"),
        ("HardSwish", "(float[n] x) => (float[n] y) { y = HardSwish(x) }"),
        ("HardSigmoid", "(float[n] x) => (float[n] y) { y = HardSigmoid<alpha = 0.3>(x) }"),
        ("Softplus", "(float[n] x) => (float[n] y) { y = Softplus(x) }"),
        ("Softsign", "(float[n] x) => (float[n] y) { y = Softsign(x) }"),
        ("Mish", "(float[n] x) => (float[n] y) { y = Mish(x) }"),
        ("Elu", "(float[n] x) => (float[n] y) { y = Elu<alpha = 0.5>(x) }"),
        ("Celu", "(float[n] x) => (float[n] y) { y = Celu(x) }"),
        ("Selu", "(float[n] x) => (float[n] y) { y = Selu(x) }"),
        ("LeakyRelu", "(float[n] x) => (float[n] y) { y = LeakyRelu(x) }"),
        ("PRelu", "(float[n] x, float[1] s) => (float[n] y) { y = PRelu(x, s) }"),
        ("ThresholdedRelu", "(float[n] x) => (float[n] y) { y = ThresholdedRelu<alpha = 0.1>(x) }"),
        ("Clip", "(float[n] x, float low) => (float[n] y) { y = Clip(x, low) }"),
        ("Softmax", "(float[n,3,4] x) => (float[n,3,4] y) { y = Softmax<axis = 1>(x) }"),
        ("LogSoftmax", "(float[n,3] x) => (float[n,3] y) { y = LogSoftmax(x) }"),
        ("ReduceL2", "(float[n,3] x) => (float[n,1] y) <int64[1] a = {1}> { y = ReduceL2(x, a) }"),
        (
            "ReduceLogSumExp",
            "(float[n,3] x) => (float[n] y) <int64[1] a = {1}> { y = ReduceLogSumExp<keepdims = 0>(x, a) }",
        ),
        ("CastLike", "(float[n] x, int64[1] l) => (int64[n] y) { y = CastLike(x, l) }"),
        ("GreaterOrEqual", "(float[n] x, float[n] z) => (bool[n] y) { y = GreaterOrEqual(x, z) }"),
        ("Range", "(float[2] x) => (int64[3] y) <int64 a = {0}, int64 b = {3}, int64 c = {1}> { y = Range(a, b, c) }"),
        ("MeanVarianceNormalization", "(float[n,2,3,3] x) => (float[n,2,3,3] y) { y = MeanVarianceNormalization(x) }"),
    ],
)
def test_expansion(operator: str, text: str) -> None:
    # onnxruntime 1.31 has neither of these itself.
    in_runtime = operator != "MeanVarianceNormalization"
    check_expanded(text, refusing(operator), operator, in_runtime=in_runtime)


HEADS = "(float[b,4,s,8] q, float[b,{kv},s,8] k, float[b,{kv},s,8] v{mask}) => (float[b,4,s,8] y) "


@pytest.mark.parametrize("kv", [4, 2, 1])
@pytest.mark.parametrize(
    ("attributes", "mask"),
    [
        ("", ""),
        ("is_causal = 1", ""),
        ("scale = 0.3, softcap = 2.0", ""),
        ("", "float[s,s]"),
        ("is_causal = 1", "bool[s,s]"),
    ],
)
def test_attention(kv: int, attributes: str, mask: str) -> None:
    signature = HEADS.format(kv=kv, mask=f", {mask} m" if mask else "")
    call = f"Attention<{attributes}>" if attributes else "Attention"
    text = signature + f"{{ y = {call}(q, k, v{', m' if mask else ''}) }}"
    check_expanded(text, refusing("Attention"), "Attention")


def test_attention_with_a_past() -> None:
    text = (
        "(float[b,s,8] q, float[b,s,8] k, float[b,s,8] v, float[b,2,p,4] pk, float[b,2,p,4] pv) "
        "=> (float[b,s,8] y, float[b,2,t,4] nk, float[b,2,t,4] nv) "
        "{ y, nk, nv = Attention<q_num_heads = 2, kv_num_heads = 2, is_causal = 1>(q, k, v, , pk, pv) }"
    )
    check_expanded(text, refusing("Attention"), "Attention")


@pytest.mark.parametrize("attributes", ["", "<interleaved = 1>", "<rotary_embedding_dim = 4>"])
def test_rotary_embedding(attributes: str) -> None:
    half = 2 if "dim" in attributes else 4
    text = (
        f"(float[b,2,s,8] x, float[9,{half}] c, float[9,{half}] z, int64[b,s] p) => (float[b,2,s,8] y) "
        f"{{ y = RotaryEmbedding{attributes}(x, c, z, p) }}"
    )
    # onnxruntime's own takes a dimension only together with a number of heads.
    check_expanded(text, refusing("RotaryEmbedding"), "RotaryEmbedding", in_runtime="dim" not in attributes)


# ---------------------------------------------------------------------------------------------------------------
# Again and again, inside subgraphs and functions

LAYER = "(float[n,8] x, float[8] s) => (float[n,8] y) { h = LayerNormalization(x, s)  y = Softmax(h) }"


def test_what_a_definition_uses_is_expanded_in_turn() -> None:
    text = "(float[b,2,s,8] q) => (float[b,2,s,8] y) { y = Attention<is_causal = 1>(q, q, q) }"
    model = check_expanded(
        text, refusing("Attention", "Softmax", "CastLike", "Range"), "Attention", "Softmax", "CastLike", "Range"
    )
    assert "Loop" in operators(model)  # what Range is made of


def test_a_branch_is_legal_too() -> None:
    text = """
    (bool c, float[n] x) => (float[n] y) {
      h = Swish(x)
      y = If(c) <then_branch = t () => (float[n] a) { a = Gelu(h) },
                 else_branch = f () => (float[n] b) { b = Swish(h) }>
    }
    """
    check_expanded(text, refusing("Swish", "Gelu"), "Swish", "Gelu")


FUNCTIONS = """
<ir_version: 10, opset_import: ["" : 24, "my" : 1]> g (float[n] x) => (float[n] y, float[n] z) {
  y = my.block<alpha = 0.5>(x, x)
  z = my.block(x)
}
<domain: "my", opset_import: ["" : 24, "my" : 1]> block <alpha: float = 0.25> (a, b) => (c) {
  d = my.act<slope: float = @alpha>(a)
  c = Max(d)
}
<domain: "my", opset_import: ["" : 22]> act <slope> (a) => (c) {
  e = LeakyRelu<alpha: float = @slope>(a)
  c = Softplus(e)
}
"""


def test_functions_of_a_domain_that_is_not_taken_are_inlined() -> None:
    model, original = parse(FUNCTIONS), parse(FUNCTIONS)
    assert apply(Legalize(refusing("Softplus")), model)
    assert not model.functions
    assert model.opset_imports == {"": 24}
    assert "Softplus" not in operators(model)
    same_numbers(original, model)
    assert not apply(Legalize(refusing("Softplus")), model)


def test_functions_of_a_domain_that_is_taken_stay_and_are_legal_inside() -> None:
    legality = Legality({"": 24, "my": 1}, {"Softplus": "no"})
    model, original = parse(FUNCTIONS), parse(FUNCTIONS)
    Legalize(legality)(model)
    verify(model)
    assert len(model.functions) == 2
    assert all(node.op_type != "Softplus" for function in model.functions.values() for node in function.all_nodes())
    same_numbers(original, model)
    assert not Legalize(legality)(model).modified


def test_a_function_that_hands_out_what_it_was_given() -> None:
    text = """
    <ir_version: 10, opset_import: ["" : 24, "my" : 1]> g (float[n] x) => (float[n] y, float[n] z, float[n] w) {
      y, z = my.both(x)
      w = my.twice(x)
    }
    <domain: "my", opset_import: ["" : 24]> both (a) => (b, b) { b = Neg(a) }
    <domain: "my", opset_import: ["" : 24]> twice (a) => (a) { b = Neg(a) }
    """
    model, original = parse(text), parse(text)
    assert apply(Legalize(Legality({"": 24})), model)
    same_numbers(original, model)


# ---------------------------------------------------------------------------------------------------------------
# Older opsets


def test_an_older_opset_is_declared_when_all_nodes_mean_the_same_in_it() -> None:
    text = """
    (float[n,4] x) => (float[m] y) <int64[1] to = {-1}> { c = Cast<to = 1, round_mode = "up">(x)  y = Reshape(c, to) }
    """
    model = check_expanded(text, Legality({"": 18}))
    assert model.opset_imports == {"": 18}
    assert "round_mode" not in model.graph[0].attributes  # opset 24's, at its default


def test_an_operator_newer_than_the_opset_is_expanded() -> None:
    text = """
    (float[b,2,s,8] x, float[8] w) => (float[b,2,s,8] y) {
      a = Attention(x, x, x)
      r = RMSNormalization(a, w)
      y = Swish(r)
    }
    """
    model = check_expanded(text, Legality({"": 18}), "Attention", "RMSNormalization", "Swish")
    assert model.opset_imports == {"": 18}


def test_a_newer_opset_of_the_target_leaves_the_graph_alone() -> None:
    model = parse(HEADER + LAYER)
    before = to_text(model)
    assert not apply(Legalize(Legality({"": 25})), model)
    assert to_text(model) == before


@pytest.mark.parametrize(
    ("text", "opset", "why"),
    [
        (
            "(float[1,1,4,4] x) => (float[1,1,a,b] y) <float[4] r = {1, 1, 2, 2}> "
            '{ y = Resize<coordinate_transformation_mode = "half_pixel_symmetric">(x, , r) }',
            18,
            "'coordinate_transformation_mode=half_pixel_symmetric' exists since opset 19",
        ),
        (
            "(float[n] x) => (float[n] y) <int64[1] p = {0}, int64[2] w = {1, 1}> { y = Pad(x, w, , p) }",
            17,
            "no place for 'p'",
        ),
        ("(float[n,3] x) => (float[n,1] y) <int64[1] a = {1}> { y = ReduceMean(x, a) }", 17, "no place for 'a'"),
        (
            "(float[4] x) => (float[2] y, float[2] z) { y, z = Split<num_outputs = 2>(x) }",
            17,
            "no attribute 'num_outputs'",
        ),
        ("(bfloat16[n] x) => (bfloat16[n] y) { y = Cos(x) }", 18, "does not take tensor(bfloat16)"),
        (
            '(float[4] x, float[4,4] g) => (float[4] y) { y = GridSample<mode = "linear">(x, g) }',
            16,
            "'mode=linear' exists since opset 20",
        ),
    ],
)
def test_a_node_that_means_something_else_in_the_older_opset(text: str, opset: int, why: str) -> None:
    with pytest.raises(CompileError) as caught:
        Legalize(Legality({"": opset}))(parse(HEADER + text))
    assert why in (caught.value.why or "")


# ---------------------------------------------------------------------------------------------------------------
# Refusals


def test_the_error_names_target_node_and_reason() -> None:
    model = parse(HEADER + '(float[2,2] x) => (float[2,2] y) { y = Einsum<equation = "ij,jk->ik">(x, x) }')
    node = model.graph[0]
    node.name = "Einsum_3"
    node.metadata_props.update(
        {
            NAME_SCOPES: "['', 'encoder.attn', 'einsum']",
            "pkg.torch.onnx.stack_trace": 'File "/home/me/model.py", line 118, in forward\n    torch.einsum(...)',
        }
    )
    with pytest.raises(CompileError) as caught:
        Legalize(Legality({"": 24}, {"Einsum": "its parser has no Einsum"}), "TensorRT")(model)
    assert caught.value.code == "unsupported-op"
    assert caught.value.message == "TensorRT cannot build this model"
    assert caught.value.where == "Einsum Einsum_3, from encoder.attn (model.py:118)"
    assert caught.value.why == "Einsum: its parser has no Einsum"
    assert caught.value.hint == "another --target, or a model without Einsum"


def test_all_refused_nodes_are_in_one_error() -> None:
    text = "(float[n] x) => (float[n] y) { a = Sin(x)  b = Cos(a)  c = Sin(b)  d = Sin(c)  y = Neg(d) }"
    with pytest.raises(CompileError) as caught:
        Legalize(refusing("Sin", "Cos"))(parse(HEADER + text))
    assert (caught.value.where or "").count("Sin") == 2
    assert (caught.value.where or "").endswith(", and 1 more")
    assert caught.value.why == "Sin: it has no Sin; Cos: it has no Cos"


def test_what_an_expansion_ends_in_may_be_refused() -> None:
    model = parse(HEADER + "(float[n] x) => (float[n] y) { y = Swish(x) }")
    model.graph[0].name = "silu"
    with pytest.raises(CompileError) as caught:
        Legalize(refusing("Swish", "Sigmoid"))(model)
    assert (caught.value.where or "").startswith("Sigmoid silu/Sigmoid, from layers.0")
    assert caught.value.why == "Sigmoid: it has no Sigmoid"


def test_an_operator_of_another_domain() -> None:
    model = parse(HEADER + LAYER)
    model.graph[1].domain = "com.example"
    model.opset_imports["com.example"] = 1
    with pytest.raises(CompileError) as caught:
        Legalize(Legality({"": 24}))(model)
    assert caught.value.why == "com.example::Softmax: no operators of domain 'com.example' are taken"


def test_an_element_type_may_be_refused() -> None:
    text = "(float[n] x, double[n] d) => (double[n] y) { c = Cast<to = 11>(x)  y = Add(c, d) }"
    with pytest.raises(CompileError) as caught:
        Legalize(Legality({"": 24}, dtypes={"float64": "the device has no float64"}))(parse(HEADER + text))
    assert (caught.value.where or "").startswith("'d'; Add")
    assert caught.value.why == "float64: the device has no float64"


def test_provenance_reaches_every_new_node() -> None:
    model = parse(HEADER + LAYER)
    want = origins(model.graph[0])
    Legalize(refusing("LayerNormalization"))(model)
    expanded = list(model.graph)[:-1]
    assert len(expanded) > 5
    assert all(origins(node) == want for node in expanded)
    assert "from layers.0" in describe(expanded[0])


def test_names_stay_unique_and_outputs_keep_theirs() -> None:
    model = parse(HEADER + "(float[n] x) => (float[n] y) { a = Swish(x)  b = Swish(a)  y = Swish(b) }")
    for node in model.graph:
        node.name = "same"
    Legalize(refusing("Swish"))(model)
    verify(model)
    names = [node.name for node in model.graph]
    assert len(set(names)) == len(names)
    assert {"a", "b", "y"} <= {value.name for node in model.graph for value in node.outputs}


@pytest.mark.parametrize(("given", "left"), [(14, 12), (12, 12), (9, 9)])
def test_the_format_of_the_file_is_no_newer_than_its_opsets_need(given: int, left: int) -> None:
    model = parse(f'<ir_version: {given}, opset_import: ["" : 21]> g (float[2] x) => (float[2] y) {{ y = Relu(x) }}')
    result = Legalize(Legality({"": 24}))(model)
    assert (model.ir_version, result.modified) == (left, given != left)
