"""Weights in eight or four bits, activations as they are.

Every constant that a MatMul or a Gemm multiplies with is stored as whole numbers behind a DequantizeLinear: eight bits
with a scale for each channel, or four with a scale for each group of neighbours along the axis that is summed up.
Tables of embeddings and heads, which weigh on every token alone, are kept in eight bits: a scale for each row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.errors import UsageError, did_you_mean
from compiler.passes.rewriting import Edit, static_shape
from compiler.precision.awq import Scaled, awq, lost
from compiler.precision.candidates import own_precision
from compiler.precision.gptq import gptq
from compiler.precision.recipe import Layer, Recipe, Samples
from compiler.precision.rounding import Grid, Rounded, nearest
from compiler.precision.weights_found import User, Weight, find
from compiler.precision.weights_inputs import Moments, batches, measure
from compiler.precision.weights_scaled import divide, is_free
from compiler.precision.weights_stored import store

METHODS = ("auto", "rtn", "gptq", "awq")
_NEEDING_SAMPLES = ("gptq", "awq")
SMALLEST_GROUP = 16  # what runtimes take
_FINE = 8  # bits, with which there is nothing to gain from scales of columns
_WORTH_A_PRODUCT = 0.9  # of the error; a scale of what goes in that nobody takes in must gain that much


def quantize_weights(model: ir.Model, recipe: Recipe, samples: Samples | None) -> tuple[Layer, ...]:
    """In place; what became of each node that holds weights, in the order of the graph."""
    _check(recipe, samples)
    weights = find(model, recipe.keep)
    work = _Work(model, recipe, [weight for weight in weights if not weight.why])
    for group, moments in _with_moments(model, work.groups(), samples):
        work.quantize(group, moments)
    layers = work.finish()
    for weight in weights:
        if weight.why:
            layers |= {user.node: _left(weight, user, place) for place, user in enumerate(weight.users)}
    return tuple(layers[node] for node in model.graph if node in layers)


def _check(recipe: Recipe, samples: Samples | None) -> None:
    if recipe.method not in METHODS:
        hint = did_you_mean(recipe.method, METHODS) or f"one of {', '.join(METHODS)}"
        raise UsageError("bad-option", f"weights know no method '{recipe.method}'", where="--method", hint=hint)
    if recipe.method in _NEEDING_SAMPLES and samples is None:
        raise UsageError(
            "no-calibration",
            f"{recipe.method} needs data",
            why="it rounds weights so that the layers' outputs on that data change least",
            hint="--calibration FILE, or --method rtn",
        )
    if recipe.group_size < SMALLEST_GROUP or recipe.group_size & (recipe.group_size - 1):
        why = f"runtimes take powers of two from {SMALLEST_GROUP} on"
        raise UsageError("bad-option", f"a group cannot be {recipe.group_size} weights", where="--group-size", why=why)


def grid_for(weight: Weight, recipe: Recipe) -> Grid:
    """Groups must fill the summed axis: they are halved until they do. What has no such group is kept in eight bits."""
    length = (static_shape(weight.value) or ())[weight.summed]
    size = recipe.group_size
    while size >= SMALLEST_GROUP and length % size:
        size //= 2
    fine = weight.fine or any(own_precision(user.node, recipe) == "int8" for user in weight.users)
    if recipe.precision != "int4" or fine or size < SMALLEST_GROUP:
        return Grid(8, 0, recipe.symmetric)
    return Grid(4, size, recipe.symmetric)


Group = list[Weight]  # that multiply with the same value, or a weight with several users by itself


@dataclass(frozen=True)
class _Choice:
    """One way to round the weights of a group."""

    rounded: tuple[Rounded, ...]
    changes: tuple[Array, ...]  # of the rows that the layers compute with
    by: Array | None = None  # what the columns were multiplied with

    def error(self, moments: Moments) -> float:
        return sum(lost(change, moments.second) for change in self.changes)


class _Work:
    """The rewrite of one graph. Layers are taken from the last to the first, so that one may take in what the next
    one wants of it before it is rounded itself."""

    def __init__(self, model: ir.Model, recipe: Recipe, weights: Sequence[Weight]) -> None:
        self._recipe = recipe
        self._weights = weights
        self._edit = Edit(model)
        self._position = {node: place for place, node in enumerate(model.graph)}
        alone = [weight for weight in weights if len(weight.users) == 1]
        self._open = {weight.users[0].node: weight for weight in alone}
        self._layers: dict[ir.Node, Layer] = {}

    def groups(self) -> list[Group]:
        by_input: dict[object, Group] = {}
        for weight in reversed(self._weights):
            single = len(weight.users) == 1 and weight.users[0].role != "embedding"
            by_input.setdefault(weight.users[0].value if single else weight, []).insert(0, weight)
        return list(by_input.values())

    def finish(self) -> dict[ir.Node, Layer]:
        self._edit.finish()
        return self._layers

    def quantize(self, group: Group, moments: Moments | None) -> None:
        rows, grids = [weight.rows() for weight in group], [grid_for(weight, self._recipe) for weight in group]
        choice = self._chosen(group, list(zip(rows, grids, strict=True)), moments)
        if choice.by is not None:
            nodes = [weight.users[0].node for weight in group]
            divide(self._edit, group[0].users[0].value, choice.by, nodes, self._open)
        for weight, given, rounded, change in zip(group, rows, choice.rounded, choice.changes, strict=True):
            self._store(weight, rounded, None if moments is None else _relative(change, given, moments))

    def _chosen(self, group: Group, given: list[tuple[Array, Grid]], moments: Moments | None) -> _Choice:
        """The one of the choices that the method allows whose error on the samples is the smallest."""
        method = self._recipe.method if moments is not None else "rtn"
        if moments is None or method == "rtn":
            return _plain([nearest(rows, grid) for rows, grid in given], given)
        second = moments.second
        choices = []
        if method != "awq":
            choices.append(_plain(gptq(given, second), given))
        coarse = any(grid.bits < _FINE for _, grid in given)
        if (method == "awq" or (method == "auto" and coarse)) and len(group[0].users) == 1:
            choices += _scaled(awq(given, second, moments.magnitude), given, None if method == "awq" else second)
        if method == "awq":
            choices.append(_plain([nearest(rows, grid, second) for rows, grid in given], given))
        return min(choices, key=lambda choice: choice.error(moments) * self._price(choice, group))

    def _price(self, choice: _Choice, group: Group) -> float:
        nodes = {weight.users[0].node for weight in group}
        free = choice.by is None or is_free(group[0].users[0].value, nodes, self._open)
        return 1.0 if free else 1 / _WORTH_A_PRODUCT**2

    def _store(self, weight: Weight, rounded: Rounded, error: float | None) -> None:
        store(self._edit, weight, rounded, min(weight.value.consumers(), key=self._position.__getitem__))
        for place, user in enumerate(weight.users):
            self._open.pop(user.node, None)
            count = 0 if place else weight.count
            known = error if user.role != "embedding" else None
            layer = _layer(user, f"int{rounded.grid.bits} weights", rounded.bits, count, error=known)
            self._layers[user.node] = layer


def _plain(rounded: Sequence[Rounded], given: list[tuple[Array, Grid]]) -> _Choice:
    changes = tuple(each.rows - rows for each, (rows, _) in zip(rounded, given, strict=True))
    return _Choice(tuple(rounded), changes)


def _scaled(found: Scaled | None, given: list[tuple[Array, Grid]], second: Array | None) -> Iterator[_Choice]:
    """On the scales that were found; with `second`, rounded one column after the other."""
    if found is None:
        return
    rounded = found.rounded
    if second is not None:
        rounded = gptq([(rows * found.by, grid) for rows, grid in given], second / np.outer(found.by, found.by))
    changes = tuple(each.rows / found.by - rows for each, (rows, _) in zip(rounded, given, strict=True))
    yield _Choice(rounded, changes, found.by)


def _relative(change: Array, rows: Array, moments: Moments) -> float | None:
    size = lost(rows, moments.second)
    return float(np.sqrt(lost(change, moments.second) / size)) if size > 0 else None


def _with_moments(
    model: ir.Model, groups: Sequence[Group], samples: Samples | None
) -> Iterator[tuple[Group, Moments | None]]:
    """Each group with what goes into its layers; None where there are no samples, or it is only looked up in."""
    if samples is None:
        yield from ((group, None) for group in groups)
        return
    original, inputs = model.clone(), [_inputs(group) for group in groups]
    for batch in batches(inputs):
        widths = {name: width for names in inputs[batch] for name, width in names}
        found = measure(original, widths, samples) if widths else {}
        for group, names in zip(groups[batch], inputs[batch], strict=True):
            seen = [found[name] for name, _ in names if found[name].known]
            yield group, sum(seen[1:], seen[0]) if seen else None


def _inputs(group: Group) -> list[tuple[str, int]]:
    users = [(weight, user) for weight in group for user in weight.users if user.role != "embedding"]
    names = {str(user.value.name): (static_shape(weight.value) or ())[weight.summed] for weight, user in users}
    return list(names.items())


def _left(weight: Weight, user: User, place: int) -> Layer:
    return _layer(user, "float32", 32.0, 0 if place else weight.count, why=weight.why)


def _layer(user: User, precision: str, bits: float, count: int, *, why: str = "", error: float | None = None) -> Layer:
    """The weights of a tied layer are counted once."""
    return Layer(user.node.name or "", user.node.op_type, precision, bits, count, why, error)
