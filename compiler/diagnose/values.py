"""What stands at every place of a graph: as the model computes it, and in float64."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compiler.cases import Case
from compiler.contracts import Array, Arrays
from compiler.ir.evaluate import Evaluator
from compiler.validate.compare import compare
from compiler.verdicts import OutputVerdict


@dataclass(frozen=True)
class Truth:
    """The right values by name: in the model's own precision, and in float64. Their distance is the unit of error."""

    plain: Arrays
    precise: Arrays

    def __contains__(self, name: object) -> bool:
        return name in self.plain

    def only(self, names: Collection[str]) -> Truth:
        return Truth(_only(self.plain, names), _only(self.precise, names))

    def wrong(self, answer: Arrays) -> dict[str, OutputVerdict]:
        """Those values of an answer that rounding does not explain."""
        names = [name for name in answer if name in self]
        case = Case("", {}, {}, _only(self.plain, names), _only(self.precise, names))
        verdict = compare([case], [_only(answer, names)])
        return {found.output: found for found in verdict.outputs if not found.passed}

    def distance(self, answer: Arrays) -> float:
        """How far off values are, in units of the model's own rounding; the largest of them."""
        names = [name for name in answer if name in self]
        case = Case("", {}, {}, _only(self.plain, names), _only(self.precise, names))
        return max((found.rms for found in compare([case], [_only(answer, names)]).outputs), default=0.0)


def _only(arrays: Arrays, names: Collection[str]) -> dict[str, Array]:
    return {name: arrays[name] for name in names}


def truth_of(model: ir.Model, inputs: Arrays) -> Truth:
    """Every value of the main graph, weights left aside."""
    seen = model.clone()
    seen.graph.outputs.clear()
    seen.graph.outputs.extend(made(seen.graph))
    plain, precise = (_plain_arrays(Evaluator(seen, precise=raised)(inputs)) for raised in (False, True))
    own = {name: np.asarray(array) for name, array in inputs.items()}
    plain, precise = {**own, **plain}, {**own, **precise}
    return Truth(plain, precise).only(plain.keys() & precise.keys())


def made(graph: ir.Graph) -> list[ir.Value]:
    """What the nodes of a graph compute, producers first."""
    return [value for node in graph for value in node.outputs if value.name]


def run_given(
    model: ir.Model, inputs: Arrays, truth: Truth, given: Collection[str], wanted: Iterable[str]
) -> dict[str, Array]:
    """What a graph makes of the wanted values when whoever reads one of the given values reads the right one.

    A value may be both: then it is computed, from right values, and nobody reads it. So one run tells of every place
    of a graph whether it is wrong by itself.
    """
    clone = model.clone()
    by_name = {value.name: value for value in (*clone.graph.inputs, *clone.graph.outputs, *made(clone.graph))}
    clone.graph.outputs.clear()
    feeds = dict(inputs)
    for name in given:
        right = truth.plain[name]
        stand_in = ir.Value(name=f"right {name}", type=_type_of(right), shape=ir.Shape(right.shape))
        by_name[name].replace_all_uses_with(stand_in)
        clone.graph.inputs.append(stand_in)
        feeds[f"right {name}"] = right
    clone.graph.outputs.extend(by_name[name] for name in wanted)
    return Evaluator(clone, precise=False)(feeds)


def _type_of(array: Array) -> ir.TensorType:
    return ir.TensorType(ir.DataType.from_numpy(array.dtype))


def _plain_arrays(values: Mapping[str, object]) -> dict[str, Array]:
    """Without sequences, strings and what was left out."""
    return {
        name: value for name, value in values.items() if isinstance(value, np.ndarray) and value.dtype.kind in "fcbiuV"
    }
