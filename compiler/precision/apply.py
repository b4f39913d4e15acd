"""The graph in lower precision, and the two verdicts on what a runtime makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module

import onnx_ir as ir

from compiler.contracts import ORDINARY, Arrays, Case, Check, Reference, Terms, Verdict
from compiler.ir.evaluate import Evaluator
from compiler.precision.recipe import Layer, Recipe, Samples
from compiler.validate.judge import judge

Rewrite = Callable[[ir.Model, Recipe, Samples | None], tuple[Layer, ...]]

_REWRITES = {
    "float16": "compiler.precision.half:to_half",
    "bfloat16": "compiler.precision.half:to_half",
    "int8": "compiler.precision.int8:to_int8",
    "int4": "compiler.precision.weights:quantize_weights",
}
WEIGHTS_ONLY = ("weights", "rtn", "gptq", "awq")  # methods that leave activations as they are
MOST_CASES = 6  # on which the graph itself is asked, twice each
NO_TERMS = Terms()


@dataclass(frozen=True)
class Lowered:
    """What became of a model: its layers, and the graph that says what a runtime has to compute."""

    recipe: Recipe
    layers: tuple[Layer, ...]
    graph: ir.Model

    def reference(self, whole: Reference) -> Reference:
        """The same inputs, and the answers of the graph in lower precision; its own rounding is the unit of error."""
        plain, precise = Evaluator(self.graph, precise=False), Evaluator(self.graph, precise=True)
        cases = [case for case in whole.cases if case.kind == ORDINARY][:MOST_CASES]
        producer = f"plumbline's evaluator, of the graph in {self.recipe.precision}"
        return Reference(tuple(_answered(case, plain, precise) for case in cases), producer, whole.seed)


def _answered(case: Case, plain: Check, precise: Check) -> Case:
    inputs: Arrays = case.inputs
    return replace(case, outputs=plain(inputs), oracle=precise(inputs), shaken=None, scores={})


def lower_precision(model: ir.Model, recipe: Recipe, samples: Samples | None) -> Lowered:
    """In place; the graph that is kept aside shares its weights."""
    where = _REWRITES[recipe.precision]
    if recipe.precision == "int8" and recipe.method in WEIGHTS_ONLY:
        where = _REWRITES["int4"]
        recipe = replace(recipe, method="auto") if recipe.method == "weights" else recipe
    module, _, name = where.partition(":")
    rewrite: Rewrite = getattr(import_module(module), name)
    layers = rewrite(model, recipe, samples)
    return Lowered(recipe, layers, model.clone())


def fidelity(lowered: Lowered, reference: Reference, answer: Check) -> tuple[Reference, Verdict]:
    """Whether the runtime computes this very graph, within the graph's own rounding."""
    asked = lowered.reference(reference)
    return asked, judge(asked, answer, NO_TERMS)
