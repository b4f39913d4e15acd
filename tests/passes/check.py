"""A pass test is two graphs in ONNX's text syntax; everything that any pass must keep is checked on the way."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir

from compiler.contracts import Arrays, TensorSpec
from compiler.frontend.examples import numpy_dtype
from compiler.ir.evaluate import Evaluator
from compiler.ir.provenance import NAME_SCOPES, origins
from compiler.ir.text import to_text
from compiler.ir.verify import signature_of, verify

OPSET = 21
HEADER = f'<ir_version: 10, opset_import: ["" : {OPSET}]> g '


def parse(text: str) -> ir.Model:
    """A graph whose every node remembers a module of its own; the header may be left away."""
    model = ir.from_proto(onnx.parser.parse_model(text if text.lstrip().startswith("<") else HEADER + text))
    verify(model)
    for number, node in enumerate(ir.traversal.RecursiveGraphIterator(model.graph)):
        node.metadata_props[NAME_SCOPES] = repr(["", f"layers.{number}", node.op_type])
    return model


def apply(instance: ir.passes.PassBase, model: ir.Model) -> bool:
    """Run a pass and hold it to what it promises; whether it said that it changed anything."""
    before = to_text(model)
    signature = signature_of(model)
    result = instance(model)
    assert result.model is model, "a pass works in place"
    verify(model)
    assert signature_of(model) == signature
    assert result.modified == (to_text(model) != before), "the pass does not tell the truth about what it did"
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        assert origins(node) or node.op_type == "Constant", f"{node.op_type} forgot where it comes from"
    return bool(result.modified)


def check_pass(instance: ir.passes.PassBase, before: str, after: str, inputs: Arrays | None = None) -> ir.Model:
    """The pass makes this of that: structure, truthfulness, idempotence, numbers. The result is handed back."""
    model, original = parse(before), parse(before)
    assert apply(instance, model), "the pass changed nothing"
    assert canonical(model) == canonical(parse(after))
    assert not apply(instance, model), "the second run still changed something"
    same_numbers(original, model, inputs)
    return model


def check_unchanged(instance: ir.passes.PassBase, graph: str, because: str | None = None) -> None:
    """The pass leaves this alone, and, where `because` is given, says why."""
    model = parse(graph)
    assert not apply(instance, model)
    declined = getattr(instance, "take_declined", tuple)()
    if because is None:
        assert declined == ()
    else:
        assert any(because in reason for reason in declined), declined


def same_numbers(before: ir.Model, after: ir.Model, inputs: Arrays | None = None, precise: float = 1e-12) -> None:
    """`precise` is how well they agree in float64; what was computed in float32 already cannot do better than that."""
    given = draw(before) if inputs is None else inputs
    for raised, tolerance in ((True, precise), (False, 1e-6)):
        want, have = Evaluator(before, precise=raised)(given), Evaluator(after, precise=raised)(given)
        assert list(want) == list(have)
        for name in want:
            assert want[name].dtype == have[name].dtype
            np.testing.assert_allclose(have[name], want[name], rtol=tolerance, atol=tolerance, err_msg=name)


def draw(model: ir.Model) -> Arrays:
    """Inputs for a model; its symbolic dims get the sizes 2, 3, 4, ..."""
    rng = np.random.default_rng(0)
    sizes: dict[str, int] = {}

    def one(spec: TensorSpec) -> np.ndarray:
        shape = [dim if isinstance(dim, int) else sizes.setdefault(str(dim), 2 + len(sizes)) for dim in spec.dims]
        whole = spec.dtype.startswith(("int", "uint", "bool"))
        values = rng.integers(0, 2, shape) if whole else rng.standard_normal(shape)
        return np.asarray(values).astype(numpy_dtype(spec.dtype))

    return {spec.name: one(spec) for spec in signature_of(model).inputs}


def canonical(model: ir.Model) -> str:
    """A model as text in which inner values are numbered, so that only what they are used for counts."""
    model = model.clone()
    for graph in model.graphs():
        inner = [value for node in graph for value in node.outputs if not value.is_graph_output()]
        used = [value for node in graph for value in node.inputs if value is not None and value.is_initializer()]
        weights = [value for value in dict.fromkeys(used) if value.graph is graph and not value.is_graph_input()]
        for kind, values in (("t", inner), ("w", weights)):
            for number, value in enumerate(values):
                value.name = f"{kind}{number}"
        for value in inner:
            value.type = value.shape = None
    return to_text(model)
