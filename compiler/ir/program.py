"""A graph prepared for evaluation: its nodes in order, and what may be forgotten after each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.errors import CompileError
from compiler.ir.precision import Precision
from compiler.ir.provenance import describe

Environment = dict[ir.Value, Any]  # arrays; lists for sequences; None for absent optional values

# Weights of at most this many bytes are kept once they are loaded and converted.
_KEPT_BYTES = 1 << 16

# These pick elements: they read weights as stored, and only what they picked is converted to the precision of the
# evaluation. A whole embedding table in float64 may not fit.
_PICKING = frozenset({"Gather", "GatherElements", "GatherND", "Slice"})

# What kernels raise on inputs that an operator does not allow.
_REFUSALS = (ValueError, IndexError, KeyError, TypeError, AttributeError, ArithmeticError, RuntimeError, AssertionError)


class Runner(Protocol):
    """Computes one node. `captured` are the values that its subgraphs see besides its inputs."""

    @property
    def captured(self) -> Sequence[ir.Value]: ...

    def __call__(self, inputs: Sequence[Any], environment: Mapping[ir.Value, Any]) -> Sequence[Any]: ...


@dataclass(frozen=True)
class Step:
    node: ir.Node
    runner: Runner
    forgets: tuple[ir.Value, ...]


class Weights:
    """Initializers, loaded when they are used: all of them at once, in float64, would not fit."""

    def __init__(self, precision: Precision) -> None:
        self._precision = precision
        self._kept: dict[ir.Value, Array] = {}

    def __getitem__(self, value: ir.Value) -> Array:
        if value in self._kept:
            return self._kept[value]
        array: Array = self.raised(self.stored(value))
        if array.nbytes <= _KEPT_BYTES:
            self._kept[value] = array
        return array

    def stored(self, value: ir.Value) -> Array:
        if not value.is_initializer() or value.const_value is None:
            raise KeyError(f"'{value.name}' has no value")
        array: Array = value.const_value.numpy()
        return array

    def raised(self, value: Any) -> Any:
        return self._precision.raised(value)


class Program:
    def __init__(
        self,
        inputs: Iterable[ir.Value | None],
        steps: Iterable[tuple[ir.Node, Runner]],
        outputs: Iterable[ir.Value | None],
        weights: Weights,
    ) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self._weights = weights
        runners = list(steps)
        defined = {value for value in self.inputs if value is not None}
        defined.update(value for node, _ in runners for value in node.outputs)
        uses = [_uses(node, runner) for node, runner in runners]
        seen = dict.fromkeys(value for values in (*uses, _present(self.outputs)) for value in values)
        self.captured = tuple(value for value in seen if value not in defined)
        forgets = _last_uses(uses, defined - set(_present(self.outputs)))
        self._steps = [Step(node, runner, gone) for (node, runner), gone in zip(runners, forgets, strict=True)]
        self._wanted = defined & set(seen)

    def __call__(self, arguments: Sequence[Any], outer: Mapping[ir.Value, Any]) -> list[Any]:
        """The outputs; `outer` is where the values come from that the graph captures."""
        environment: Environment = {value: outer[value] for value in self.captured if value in outer}
        given = zip(self.inputs, arguments, strict=True)
        environment.update((value, argument) for value, argument in given if value is not None)
        for step in self._steps:
            self._run(step, environment)
        return [self._fetch(value, environment) for value in self.outputs]

    def _run(self, step: Step, environment: Environment) -> None:
        picking = step.node.op_type in _PICKING
        inputs = [self._fetch(value, environment, stored=picking) for value in step.node.inputs]
        try:
            results = step.runner(inputs, environment)
        except _REFUSALS as error:
            raise CompileError(
                "evaluation-failed",
                "the graph cannot be evaluated",
                where=describe(step.node),
                why=f"{type(error).__name__}: {error}",
            ) from error
        for value, result in zip(step.node.outputs, results, strict=False):
            if value in self._wanted:
                environment[value] = self._weights.raised(_as_value(result)) if picking else _as_value(result)
        for value in step.forgets:
            environment.pop(value, None)

    def _fetch(self, value: ir.Value | None, environment: Mapping[ir.Value, Any], *, stored: bool = False) -> Any:
        if value is None or value.name == "":
            return None
        if value in environment:
            return environment[value]
        return self._weights.stored(value) if stored else self._weights[value]


def _as_value(result: Any) -> Any:
    # numpy turns arrays without dimensions into scalars all by itself.
    return result if result is None or isinstance(result, (np.ndarray, list)) else np.asarray(result)


def _present(values: Iterable[ir.Value | None]) -> list[ir.Value]:
    return [value for value in values if value is not None]


def _uses(node: ir.Node, runner: Runner) -> list[ir.Value]:
    return [*_present(node.inputs), *runner.captured]


def _last_uses(uses: Sequence[Sequence[ir.Value]], candidates: set[ir.Value]) -> list[tuple[ir.Value, ...]]:
    """For each step the values that no later step uses."""
    last = {value: index for index, values in enumerate(uses) for value in values if value in candidates}
    forgets: list[list[ir.Value]] = [[] for _ in uses]
    for value, index in last.items():
        forgets[index].append(value)
    return [tuple(values) for values in forgets]
