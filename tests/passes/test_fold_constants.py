from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from check import apply, check_pass, check_unchanged, parse, same_numbers

from compiler.ir.store import weight_bytes
from compiler.passes import fold_constants
from compiler.passes.fold_constants import FoldConstants
from compiler.passes.lift_constants import LiftConstants
from compiler.passes.remove_dead_code import RemoveDeadCode


def fold(model: ir.Model) -> bool:
    """The folder as the pipeline uses it: constants lifted before, leftovers swept after."""
    LiftConstants()(model)
    modified = apply(FoldConstants(), model)
    RemoveDeadCode()(model)
    return modified


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def grown(rows: int) -> str:
    """Four numbers that are written out `rows` times."""
    return (
        f"(float[{rows},4] x) => (float[{rows},4] y) "
        f"<float[1,4] w = {{1, 2, 3, 4}}, int64[2] to = {{{rows}, 4}}, float[{rows},4] big> "
        "{ big = Expand(w, to)  y = Add(x, big) }"
    )


def test_what_is_constant_is_computed() -> None:
    check_pass(
        FoldConstants(),
        "(float[2] x) => (float[2] y) <float[2] a = {1, 2}, float[2] b = {3, 5}> { c = Mul(a, b)  y = Add(x, c) }",
        "(float[2] x) => (float[2] y) <float[2] c = {3, 10}> { y = Add(x, c) }",
    )


def test_a_chain_folds_in_one_run() -> None:
    model = parse(
        "(float[2] x) => (float[2] y) <float[2] a = {1, 4}> { b = Sqrt(a)  c = Neg(b)  d = Exp(c)  y = Add(x, d) }"
    )
    before = model.clone()
    assert fold(model)
    assert operators(model) == ["Add"]
    same_numbers(before, model, precise=1e-6)
    assert not apply(FoldConstants(), model)


def test_shapes_that_are_known_are_numbers() -> None:
    model = parse(
        "(float[2,3] x) => (int64[2] y) <int64[2] one = {1, 1}> { s = Shape(x)  t = Add(s, one)  y = Mul(t, one) }"
    )
    before = model.clone()
    assert fold(model)
    assert "Shape" not in operators(model)
    same_numbers(before, model)


def test_a_dynamic_shape_stays_dynamic() -> None:
    model = parse("(float[n,3] x) => (int64[2] y) <int64[2] two = {2, 2}> { s = Shape(x)  y = Mul(s, two) }")
    fold(model)
    assert "Shape" in operators(model)


def test_a_result_that_grows_by_too_much_is_left_alone() -> None:
    rows = fold_constants.NODE_GROWTH // 16 + 3
    check_unchanged(FoldConstants(), grown(rows), because="would add")


def test_a_result_that_grows_by_little_is_folded() -> None:
    model = parse(grown(100))
    assert fold(model)
    assert operators(model) == ["Add"]
    assert weight_bytes(model) == 1600


def test_all_results_together_may_not_grow_by_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold_constants, "TOTAL_GROWTH", 4000)
    steps = "  ".join(f"e{number} = Expand(w, to)  s{number + 1} = Add(s{number}, e{number})" for number in range(5))
    types = ", ".join(f"float[100,4] e{number}" for number in range(5))
    model = parse(
        f"(float[100,4] x) => (float[100,4] y) <float[1,4] w = {{1, 2, 3, 4}}, int64[2] to = {{100, 4}}, {types}> "
        f"{{ s0 = Neg(x)  {steps}  y = Neg(s5) }}"
    )
    size = weight_bytes(model)
    instance = FoldConstants()
    assert apply(instance, model)
    assert operators(model).count("Expand") == 3  # two of 1600 bytes fit into 4000
    assert len(instance.take_declined()) == 3
    assert weight_bytes(model) - size <= 4000


def expanded(count: int, *, known: bool) -> ir.Model:
    """So many constants of 1600 bytes each, whose size is in the graph or only in the value of an input."""
    steps = "  ".join(
        f"e{number} = Expand(w, to)  s{number + 1} = Add(s{number}, e{number})" for number in range(count)
    )
    types = "".join(f", float[100,4] e{number}" for number in range(count)) if known else ""
    model = parse(
        f"(float[100,4] x) => (float[100,4] y) <float[1,4] w = {{1, 2, 3, 4}}, int64[2] to = {{100, 4}}{types}> "
        f"{{ s0 = Neg(x)  {steps}  y = Neg(s{count}) }}"
    )
    if not known:
        for node in model.graph:
            if node.op_type == "Expand":
                node.outputs[0].shape = None
    return model


def test_the_total_holds_over_several_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold_constants, "TOTAL_GROWTH", 4000)
    model = expanded(5, known=True)
    for _ in range(3):
        FoldConstants()(model)
    assert operators(model).count("Expand") == 3


def test_a_result_of_unknown_size_counts_once_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold_constants, "TOTAL_GROWTH", 4000)
    model = expanded(6, known=False)
    for _ in range(3):
        FoldConstants()(model)
    assert operators(model).count("Expand") == 3  # the third is what uses the total up


def test_a_shared_weight_is_not_copied_into_every_use() -> None:
    """Tied weights: the embedding is used as it is and, transposed, as the head."""
    weight = np.zeros((300, 300), np.float32)
    model = parse(
        "(int64[n] ids, float[300,300] w) => (float[n,300] y) <float[300,300] t> "
        "{ e = Gather(w, ids)  t = Transpose(w)  y = MatMul(e, t) }"
    )
    value = model.graph.inputs.pop()
    value.const_value = ir.tensor(weight, name="w")
    model.graph.register_initializer(value)
    fold(model)
    assert weight_bytes(model) <= 1.05 * weight.nbytes


def joined(*, shared: bool) -> ir.Model:
    """Two large weights, put together as exporters do with those of an LSTM's directions."""
    second = "  u = Add(y, b)" if shared else ""
    result = ", float[200,100] u" if shared else ""
    model = parse(
        "(float[1,200,100] x, float[200,100] a, float[200,100] b) => (float[2,200,100] y" + result + ") "
        "<float[1,200,100] p, float[1,200,100] q, float[2,200,100] both, int64[1] first = {0}> "
        "{ p = Unsqueeze(a, first)  q = Unsqueeze(b, first)  both = Concat<axis = 0>(p, q)  y = Add(x, both)"
        + second.replace("y, b", "b, b")
        + " }"
    )
    for number, value in enumerate([model.graph.inputs.pop(), model.graph.inputs.pop()]):
        value.const_value = ir.tensor(np.full((200, 100), number, np.float32), name=value.name)
        model.graph.register_initializer(value)
    return model


def test_large_weights_are_put_together() -> None:
    model = joined(shared=False)
    before, size = model.clone(), weight_bytes(model)
    assert fold(model)
    assert operators(model) == ["Add"]
    assert weight_bytes(model) <= size
    same_numbers(before, model)


def test_large_weights_that_others_need_as_well_are_not_put_together() -> None:
    model = joined(shared=True)
    size = weight_bytes(model)
    fold(model)
    assert "Concat" in operators(model)
    assert weight_bytes(model) <= size


@pytest.mark.parametrize(
    "node",
    [
        "c = ConstantOfShape(to)",
        "c = RandomNormal<shape = [2]>()",
        "c = RandomUniformLike(w)",
        "c = RandomNormalLike(w)",
    ],
)
def test_what_is_random_or_better_left_short_stays(node: str) -> None:
    check_unchanged(
        FoldConstants(),
        f"(float[2] x) => (float[2] y) <int64[1] to = {{2}}, float[2] w = {{1, 2}}> "
        f"{{ {node}  u = Add(w, x)  v = Reshape(u, to)  y = Add(v, c) }}",
    )


def test_an_output_keeps_its_name_and_its_value() -> None:
    model = parse("(float[2] x) => (float[2] y, float[2] c) <float[2] a = {1, 2}> { c = Neg(a)  y = Add(x, c) }")
    before = model.clone()
    fold(model)
    assert [value.name for value in model.graph.outputs] == ["y", "c"]
    same_numbers(before, model)


def test_special_values_fold_as_they_are() -> None:
    model = parse(
        "(float[4] x) => (float[4] y) <float[4] zero = {0, 0, 0, 0}, float[4] a = {1, -1, 0, -0}> "
        "{ q = Div(a, zero)  y = Max(q, q, x) }"
    )
    before = model.clone()
    fold(model)
    same_numbers(before, model)
    model = parse("(float[2] x) => (float[2] y) <float[2] a = {0, 1}> { n = Neg(a)  y = Mul(n, x) }")
    fold(model)
    (constant,) = model.graph.initializers.values()
    assert constant.const_value is not None
    assert np.signbit(constant.const_value.numpy()).all()


@pytest.mark.parametrize("flag", [0, 1])
def test_a_branch_that_is_decided_takes_the_place_of_its_if(flag: int) -> None:
    model = parse(f"""(float[2] x) => (float[2] y) <bool flag = {{{flag}}}, float[2] w = {{1, 2}}> {{
        r = If(flag) <
            then_branch = a () => (float[2] p) {{ t = Add(x, w)  p = Relu(t) }},
            else_branch = b () => (float[2] q) {{ q = Neg(x) }}>
        y = Abs(r)
    }}""")
    before = model.clone()
    assert fold(model)
    assert operators(model) == (["Add", "Relu", "Abs"] if flag else ["Neg", "Abs"])
    same_numbers(before, model)


def test_a_branch_that_depends_on_data_stays() -> None:
    model = parse("""(float[2] x, bool flag) => (float[2] y) <float[2] w = {1, 2}> {
        y = If(flag) <
            then_branch = a () => (float[2] p) { t = Neg(w)  p = Add(x, t) },
            else_branch = b () => (float[2] q) { q = Neg(x) }>
    }""")
    before = model.clone()
    fold(model)
    assert operators(model) == ["If"]
    same_numbers(before, model, {"x": np.ones(2, np.float32), "flag": np.array(True)})
    same_numbers(before, model, {"x": np.ones(2, np.float32), "flag": np.array(False)})


def test_a_vendors_operator_is_not_touched() -> None:
    text = '<ir_version: 10, opset_import: ["" : 21, "vendor" : 1]> g '
    text += "(float[2] x) => (float[2] y) <float[2] a = {1, 2}> { c = vendor.Magic(a)  y = Add(x, c) }"
    check_unchanged(FoldConstants(), text)
