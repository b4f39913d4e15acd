"""The smallest module that still fails in the same way: cut off behind, cut off in front."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from model_source import Model, Noise, Value, is_fixed

Fails = Callable[[Model], bool]


def reduced(model: Model, fails: Fails) -> Model:
    """Greedy, and in the order in which most is gained."""
    model = model.live()
    for shorter in _with_one_output(model):
        if fails(shorter):
            model = shorter
            break
    while (smaller := next((candidate for candidate in _cut(model) if fails(candidate)), None)) is not None:
        model = smaller
    return model


def _with_one_output(model: Model) -> Iterator[Model]:
    """The earliest value that comes out wrong is the output; nothing behind it matters."""
    for line in model.lines:
        for value in line.results:
            yield replace(model, outputs=(value.name,)).live()


def _cut(model: Model) -> Iterator[Model]:
    """One line less: what it gave is given from outside."""
    for line in reversed(model.lines):
        if all(value.name in model.outputs for value in line.results):
            continue
        given = [value for value in line.results if _can_be_given(model, value)]
        if len(given) == len(line.results):
            yield _given(model, given, [other for other in model.lines if other is not line])


def _can_be_given(model: Model, value: Value) -> bool:
    named = set(model.named.values())
    return value.dtype == "float32" and all(is_fixed(dim) or dim in named for dim in value.dims)


def _given(model: Model, values: list[Value], lines: list[object]) -> Model:
    """Inputs keep the order in which they are named: what was a line's result comes last."""
    inputs = (*model.inputs, *(replace(value, noise=Noise.DRAWN) for value in values))
    kept = tuple(line for line in model.lines if any(line is other for other in lines))
    return replace(model, inputs=inputs, lines=kept).live()
