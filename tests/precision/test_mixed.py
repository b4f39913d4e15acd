"""Several precisions in one graph: each layer gets the one that it was given, and the others what they leave."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from weight_graphs import build, normal

from compiler.contracts import Route
from compiler.errors import UsageError
from compiler.ir.evaluate import Evaluator
from compiler.ir.verify import verify
from compiler.precision.apply import lower_precision
from compiler.precision.recipe import Recipe, mixture

BODY = "t = MatMul(x, w)  r = Relu(t)  h = MatMul(r, v)  q = Gelu(h)  k = MatMul(q, u)  y = Add(k, r)"
DATA = [{"x": normal(5, 64, seed=seed)} for seed in range(4)]


def model() -> ir.Model:
    made = build(BODY, w=normal(64, 64) / 8, v=normal(64, 64, seed=1) / 8, u=normal(64, 64, seed=2) / 8)
    for name, node in zip(("first", "second", "third"), (n for n in made.graph if n.op_type == "MatMul"), strict=True):
        node.name = name
    return made


def precisions(recipe: Recipe) -> dict[str, str]:
    """And that the graph is what the layers say."""
    made = model()
    lowered = lower_precision(made, recipe, DATA)
    verify(made)
    want, got = Evaluator(model(), precise=False)(DATA[0])["y"], Evaluator(made, precise=False)(DATA[0])["y"]
    assert 1e-5 < np.linalg.norm(got - want) / np.linalg.norm(want) < 0.03
    named = {node.name: node for node in made.graph}
    told = {layer.name: layer.precision for layer in lowered.layers if layer.name in ("first", "second", "third")}
    types = {"int8": ir.DataType.FLOAT, "float32": ir.DataType.FLOAT, "bfloat16": ir.DataType.BFLOAT16}
    for name, precision in told.items():
        weights = named[name].inputs[1]
        assert weights is not None and weights.dtype is types[precision]
        assert (weights.producer() is not None) == (precision == "int8")
    return told


def test_each_layer_gets_the_precision_that_it_was_given() -> None:
    own = (("second", "bfloat16"), ("thi*", "float32"))
    assert precisions(Recipe("int8", own=own)) == {"first": "int8", "second": "bfloat16", "third": "float32"}


def test_what_int8_leaves_is_in_16_bits() -> None:
    recipe = Recipe("int8", rest="bfloat16", own=(("second", "bfloat16"),), keep=("third",))
    assert precisions(recipe) == {"first": "int8", "second": "bfloat16", "third": "float32"}


def test_a_few_layers_alone_may_be_in_int8() -> None:
    recipe = Recipe("bfloat16", own=(("first", "int8"),))
    assert precisions(recipe) == {"first": "int8", "second": "bfloat16", "third": "bfloat16"}


def test_a_mixture_has_one_spelling() -> None:
    assert mixture("int8+bf16") == ("int8", "bfloat16")
    assert mixture("int4") == ("int4", "float32")
    for text in ("bf16+int8", "int8+int4", "int8+"):
        with pytest.raises(UsageError):
            mixture(text)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe("int4", rest="bfloat16"),
        Recipe("int8", "weights", own=(("first", "float16"),)),
        Recipe("int8", rest="float16", own=(("first", "bfloat16"),)),
    ],
)
def test_what_cannot_be_mixed_is_refused(recipe: Recipe) -> None:
    with pytest.raises(UsageError, match="no graph is made of"):
        lower_precision(model(), recipe, DATA)


def test_a_mixture_takes_the_way_that_both_need() -> None:
    both = Route(signed=True).joined(Route(options={"HINT": "bf16"}, wide={"GRU": "slow"}))
    assert both == Route("graph", {"HINT": "bf16"}, signed=True, wide={"GRU": "slow"})
