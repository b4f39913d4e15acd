"""The second verdict: does the artifact do as PyTorch does at the edge of what the model is made for?

PyTorch's own answers are the measure here. A NaN must stand where it has one, and so must an infinity; numbers are
held to the units of ordinary data, coarsely, and wider where the answers are larger. Where PyTorch raises, so should
the artifact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from compiler.cases import Edge
from compiler.contracts import Array, Bounded, Check, dtype_name
from compiler.errors import CompileError, UsageError
from compiler.unit import Floats, Unit
from compiler.validate.units import real
from compiler.verdicts import EdgeVerdict

_NUMBERS = "numbers"
OTHER_VALUES = ("another value", "another number")  # how two differ where neither is NaN or infinite

# How much more than on ordinary data a number may be off. On denormals and zeros PyTorch's own rounding was measured at
# up to 18 times the usual; what is another behaviour is off by far more.
COARSE = 32.0
PATIENCE = 60.0  # seconds that a runtime has for a probe, which is of the size of the first case


Got = dict[str, Array] | CompileError | UsageError  # what an artifact gives, or what it says


def judge_edges(edges: Iterable[Edge], answer: Check, units: Mapping[str, Unit]) -> tuple[EdgeVerdict, ...]:
    return tuple(verdict for edge in edges for verdict in judge_edge(edge, answered(edge, answer), units))


def differing(verdicts: Iterable[EdgeVerdict]) -> list[EdgeVerdict]:
    return [verdict for verdict in verdicts if not verdict.same]


def answered(edge: Edge, answer: Check) -> Got:
    session: object = answer
    try:
        return session.within(PATIENCE, edge.inputs) if isinstance(session, Bounded) else answer(edge.inputs)
    except (CompileError, UsageError) as error:
        return error


def judge_edge(edge: Edge, got: Got, units: Mapping[str, Unit]) -> Iterator[EdgeVerdict]:
    if isinstance(got, (CompileError, UsageError)):
        if edge.raised:
            yield EdgeVerdict(edge.name, "", True, f"raises ({edge.raised})")
        else:
            yield EdgeVerdict(edge.name, "", False, "an answer", got.message, why=got.why or got.code)
        return
    if edge.raised:
        yield EdgeVerdict(edge.name, "", False, f"raises ({edge.raised})", "answers all the same")
        return
    for name, want in edge.outputs.items():
        if name not in got:
            yield EdgeVerdict(edge.name, name, False, _what(want), "the output is missing")
        else:
            how, count = _difference(got[name], want, units.get(name))
            yield EdgeVerdict(edge.name, name, not how, _what(want), how, count)


def _what(array: Array) -> str:
    """What PyTorch gives, in a word or two."""
    if array.dtype.kind in "iubOSU":
        return _NUMBERS
    wide = real(array).astype(np.float64)
    counts = ((int(np.isnan(wide).sum()), "NaN"), (int(np.isinf(wide).sum()), "infinities"))
    return ", ".join(f"{count} {word} of {wide.size}" for count, word in counts if count) or _NUMBERS


def _difference(got: Array, want: Array, unit: Unit | None) -> tuple[str, int]:
    """In what the two differ, and at how many elements; nothing where they do not."""
    if dtype_name(got.dtype) != dtype_name(want.dtype):
        return f"its dtype is {dtype_name(got.dtype)}, not {dtype_name(want.dtype)}", 0
    if got.shape != want.shape:
        return f"its shape is {got.shape}, not {want.shape}", 0
    if unit is None:
        return _first_of(((OTHER_VALUES[0], np.asarray(got != want)),))
    have, wide = real(got).astype(np.float64), real(want).astype(np.float64)
    numbers, finite = np.isfinite(have), np.isfinite(wide)
    return _first_of(
        (
            ("a number for a NaN", numbers & np.isnan(wide)),
            ("NaN for a number", np.isnan(have) & finite),
            ("a number for an infinity", numbers & np.isinf(wide)),
            ("an infinity for a number", np.isinf(have) & finite),
            ("NaN for an infinity", np.isnan(have) & np.isinf(wide)),
            ("an infinity for a NaN", np.isinf(have) & np.isnan(wide)),
            ("the other infinity", np.isinf(have) & np.isinf(wide) & (have != wide)),
            (OTHER_VALUES[1], numbers & finite & _far(have, wide, unit)),
        )
    )


def _first_of(found: Iterable[tuple[str, npt.NDArray[np.bool_]]]) -> tuple[str, int]:
    return next(((how, int(where.sum())) for how, where in found if where.any()), ("", 0))


def _far(have: Floats, want: Floats, unit: Unit) -> npt.NDArray[np.bool_]:
    finite = np.isfinite(have) & np.isfinite(want)
    have, want = np.where(finite, have, 0.0), np.where(finite, want, 0.0)
    size = float(np.sqrt(np.mean(want[finite] ** 2))) if finite.any() else 0.0
    larger = max(1.0, size / unit.scale) if unit.scale else 1.0
    allowed = unit.allowed(want) + (larger - 1) * unit.allowed(np.zeros_like(want))
    return np.asarray(np.abs(have - want) > COARSE * allowed)
