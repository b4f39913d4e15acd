"""The graph in lower precision, and the two verdicts on what a runtime makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module

import onnx_ir as ir

from compiler.cases import ORDINARY, Case, Reference
from compiler.contracts import Check
from compiler.errors import UsageError
from compiler.ir.evaluate import Evaluator
from compiler.precision.boundaries import Boundaries
from compiler.precision.recipe import HALVES, Layer, Recipe, Samples
from compiler.validate.judge import judge
from compiler.verdicts import NO_TERMS, Verdict

Rewrite = Callable[[ir.Model, Recipe, Samples | None], tuple[Layer, ...]]

_REWRITES = {
    "float16": "compiler.precision.half:to_half",
    "bfloat16": "compiler.precision.half:to_half",
    "int8": "compiler.precision.int8:to_int8",
}
_WEIGHTS = "compiler.precision.weights:quantize_weights"
WEIGHTS_ONLY = ("weights", "rtn", "gptq", "awq")  # methods that leave activations as they are
MOST_CASES = 4  # on which the graph itself is asked, several times each


@dataclass(frozen=True)
class Lowered:
    """What became of a model: its layers, and the graph that says what a runtime has to compute."""

    recipe: Recipe
    layers: tuple[Layer, ...]
    graph: ir.Model

    def reference(self, whole: Reference) -> Reference:
        """The same inputs, and the answers of the graph in lower precision; its own rounding is the unit of error."""
        asked = _Asked(self.graph)
        cases = [case for case in whole.cases if case.kind == ORDINARY][:MOST_CASES]
        producer = f"plumbline's evaluator, of the graph in {self.recipe.precision}"
        return Reference(tuple(map(asked.answered, cases)), producer, whole.seed)


class _Asked:
    def __init__(self, graph: ir.Model) -> None:
        self._plain = Evaluator(graph, precise=False)
        self._precise = Evaluator(graph, precise=True)
        self._boundaries = Boundaries(graph)

    def answered(self, case: Case) -> Case:
        oracle = self._precise(case.inputs)
        shaken = self._boundaries.shaken(case.inputs, oracle)
        return replace(case, outputs=self._plain(case.inputs), oracle=oracle, shaken=shaken, scores={})


def lower_precision(model: ir.Model, recipe: Recipe, samples: Samples | None) -> Lowered:
    """In place; the graph that is kept aside shares its weights."""
    rewrites = _rewrites(recipe)
    if rewrites == [_WEIGHTS] and recipe.method == "weights":
        recipe = replace(recipe, method="auto")
    layers: dict[str, Layer] = {}
    for where in rewrites:
        module, _, name = where.partition(":")
        rewrite: Rewrite = getattr(import_module(module), name)
        for layer in rewrite(model, recipe, samples):
            before = layers.get(layer.name)
            if before is None or layer.precision != "float32":
                layers[layer.name] = layer if before is None else replace(layer, error=before.error)
    return Lowered(recipe, tuple(layers.values()), model.clone())


def _rewrites(recipe: Recipe) -> list[str]:
    """A mixture is made from the fewest bits up: what has codes is left alone by the next."""
    weights = recipe.precision == "int4" or (recipe.precision == "int8" and recipe.method in WEIGHTS_ONLY)
    if weights and recipe.mixed in (("int4",), ("int8",), ("int4", "int8")):
        return [_WEIGHTS]
    halves = [name for name in recipe.mixed if name in HALVES]
    if weights or "int4" in recipe.mixed or len(halves) > 1:
        what = " and ".join(recipe.mixed)
        why = "int8 with codes for activations mixes with float16 or with bfloat16; weights in four bits with eight"
        raise UsageError("bad-option", f"no graph is made of {what}", where="--precision", why=why, hint="int8+bf16")
    return [_REWRITES[name] for name in ("int8", *halves) if name in recipe.mixed]


def fidelity(lowered: Lowered, reference: Reference, answer: Check) -> tuple[Reference, Verdict]:
    """Whether the runtime computes this very graph, within the graph's own rounding."""
    asked = lowered.reference(reference)
    return asked, judge(asked, answer, NO_TERMS)
