"""Which nodes of a graph compute in 16 bits, and why the others do not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import onnx_ir as ir

from compiler.ir.opsets import schema_at
from compiler.ir.subgraphs import subgraphs_of
from compiler.ir.text import dtype_text
from compiler.passes.rewriting import constant, input_of, is_constant, is_op, made_by
from compiler.precision.candidates import own_precision
from compiler.precision.half_ranges import Unfit, is_single, measured, of_constant
from compiler.precision.half_rules import CARRYING, CODES, KEPT, LIGHT, PLACES, UNKNOWN, WORK
from compiler.precision.recipe import Recipe, Samples

if TYPE_CHECKING:
    import onnx

MASK = 3  # the input of Attention that says where not to look; it is large by intention, and may be cut
_ASKED = "it was asked to stay"
_OTHERS = "others were asked to be in 16 bits"


@dataclass
class Plan:
    """`taken` are the inputs that each node in 16 bits takes in 16 bits."""

    dtype: ir.DataType
    taken: dict[ir.Node, tuple[int, ...]] = field(default_factory=dict)
    reasons: dict[ir.Node, str] = field(default_factory=dict)


def plan(model: ir.Model, recipe: Recipe, dtype: ir.DataType, samples: Samples | None) -> Plan:
    return _Planner(model, recipe, dtype, samples).run()


class _Planner:
    def __init__(self, model: ir.Model, recipe: Recipe, dtype: ir.DataType, samples: Samples | None) -> None:
        self._model = model
        self._recipe = recipe
        self._plan = Plan(dtype)
        self._unfit = measured(model, dtype, samples) if samples is not None else {}
        self._constants: dict[ir.Value, Unfit | None] = {}
        self._exact = _exact(model.graph)

    def run(self) -> Plan:
        for node in self._model.graph:
            if not any(map(is_single, node.outputs)) or not (any(map(is_single, node.inputs)) or subgraphs_of(node)):
                continue  # there is nothing in it that could be in 16 bits
            if _is_in_codes(node):
                continue
            taken = _taken(node, self._plan.dtype, self._model.opset_imports)
            why = self._obstacle(node, taken)
            if not why and self._goes_along(node):
                self._plan.taken[node] = taken
            else:
                self._plan.reasons[node] = why
                self._carry(node)
        return self._plan

    def _obstacle(self, node: ir.Node, taken: tuple[int, ...]) -> str:
        own = own_precision(node, self._recipe)
        if own == "float32":
            return _ASKED
        if own is None and self._recipe.half not in (self._recipe.precision, self._recipe.rest):
            return _OTHERS
        if node.domain == "" and node.op_type in self._recipe.wide:
            return self._recipe.wide[node.op_type]
        if not is_op(node, *WORK, *LIGHT):
            return KEPT.get(node.op_type, UNKNOWN) if node.domain == "" else UNKNOWN
        if not taken:
            return f"ONNX has no {node.op_type} in {dtype_text(self._plan.dtype)}"
        if node in self._exact:
            return self._exact[node]
        return self._of_inputs(node, taken) or self._of_outputs(node)

    def _of_inputs(self, node: ir.Node, taken: tuple[int, ...]) -> str:
        for place in taken:
            value = input_of(node, place)
            assert value is not None
            if is_op(node, "Attention") and place == MASK:
                continue
            unfit = self._unfit_of(value)
            if unfit is not None:
                return f"'{value.name}', which it takes, {unfit.why}"
        return ""

    def _of_outputs(self, node: ir.Node) -> str:
        reasons = (f"'{value.name}' {self._unfit[value].why}" for value in node.outputs if value in self._unfit)
        return next(reasons, "")

    def _unfit_of(self, value: ir.Value) -> Unfit | None:
        if value not in self._constants and (array := constant(value)) is not None:
            self._constants[value] = of_constant(array, self._plan.dtype).unfit()
        return self._constants.get(value) or self._unfit.get(value)

    def _goes_along(self, node: ir.Node) -> bool:
        """Whether a light operator has something in 16 bits to go along with."""
        if is_op(node, *WORK):
            return True
        if is_op(node, "Gather") and is_constant(node.inputs[0]):
            return True  # of an embedding: half of what a large table takes
        activations = [
            value for value in node.inputs if value is not None and is_single(value) and not is_constant(value)
        ]
        narrow = [value for value in activations if value.producer() in self._plan.taken]
        if len(narrow) == len(activations):
            return bool(narrow)
        return bool(narrow) and not all(_is_wide(user) for value in node.outputs for user, _ in value.uses())

    def _carry(self, node: ir.Node) -> None:
        """What is too large stays so, also on other data than that which was seen."""
        if not is_op(node, *CARRYING):
            return
        reasons = [self._unfit_of(value) for value in node.inputs if value is not None and is_single(value)]
        for unfit in reasons:
            if unfit is not None and unfit.large:
                for result in filter(is_single, node.outputs):
                    self._unfit.setdefault(result, unfit)


def _is_in_codes(node: ir.Node) -> bool:
    """What has 8 bits already, and what makes codes or numbers of them."""
    weights = node.inputs[1] if is_op(node, *WORK) and len(node.inputs) > 1 else None
    return is_op(node, *CODES) or made_by(weights, "DequantizeLinear") is not None


def _is_wide(node: ir.Node) -> bool:
    return not is_op(node, *WORK, *LIGHT)


def _taken(node: ir.Node, dtype: ir.DataType, opsets: dict[str, int]) -> tuple[int, ...]:
    """The inputs in float32 that could be in 16 bits; none where the standard does not allow it of one of them."""
    schema = schema_at(node, opsets.get(node.domain, 0))
    if schema is None:
        return ()
    able = _able(schema, f"tensor({dtype_text(dtype)})")
    places = [
        place
        for place, value in enumerate(node.inputs)
        if value is not None and is_single(value) and place not in PLACES.get(node.op_type, ())
    ]
    return tuple(places) if all(_kind(schema, place) in able for place in places) else ()


def _able(schema: onnx.defs.OpSchema, dtype: str) -> set[str]:
    return {one.type_param_str for one in schema.type_constraints if dtype in one.allowed_type_strs}


def _kind(schema: onnx.defs.OpSchema, place: int) -> str:
    return str(schema.inputs[min(place, len(schema.inputs) - 1)].type_str)


def _exact(graph: ir.Graph) -> dict[ir.Node, str]:
    """The work whose result, by light operators alone, becomes an angle, an index or a choice: a small error of it
    may be a large one of what follows."""
    found: dict[ir.Node, str] = {}
    pending: list[tuple[ir.Node | None, str]] = []
    for node in graph:
        why = "its result becomes an angle" if is_op(node, "Sin", "Cos", "Tan") else ""
        if is_op(node, "Cast") and ir.DataType(node.attributes["to"].as_int()).is_integer():
            why = "its result becomes a whole number"
        if is_op(node, "TopK", "ArgMax", "ArgMin"):
            why = "its result decides"
        if why and is_single(node.inputs[0]):
            pending.append((node.inputs[0].producer(), why))  # type: ignore[union-attr]
    while pending:
        made, why = pending.pop()
        if made is None or made in found or not is_op(made, *WORK, *LIGHT, "Softmax"):
            continue
        if not is_op(made, "Softmax"):
            found[made] = why
        if not is_op(made, *WORK):
            pending += [(value.producer(), why) for value in made.inputs if value is not None and is_single(value)]
    return found
