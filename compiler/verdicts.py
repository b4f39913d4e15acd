"""What is said of an artifact's numbers, and what a user may ask of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from compiler.contracts import Array


@dataclass(frozen=True)
class Element:
    """The worst element of an output: where it is, what came out, and what should have."""

    index: tuple[int, ...]
    got: float
    want: float


@dataclass(frozen=True)
class Promise:
    """What one clause of a contract, or a tolerance, came to for one output. It must hold in every case."""

    text: str  # as it was asked for
    passed: bool
    worst: float  # over all cases
    mean: float
    case: str  # the worst one


@dataclass(frozen=True)
class OutputVerdict:
    """One output over all cases. `used` is the share of the error budget that it takes up: the largest of `shares`.

    The budget decides, unless the user asked for something else; it is told all the same.
    """

    output: str
    passed: bool
    used: float
    error: float  # the largest error of an element
    budget: float  # what that element was allowed
    why: str
    case: str = ""
    worst: Element | None = None
    rms: float = 0.0  # of all elements together, in units of the model's own rounding
    shares: Mapping[str, float] = field(default_factory=dict)  # of the worst element, the worst row, and the whole
    flips: int = 0  # indices that differ, and point at a value that is the same up to rounding
    decided: Literal["budget", "contract", "tolerance"] = "budget"
    promises: tuple[Promise, ...] = ()


@dataclass(frozen=True)
class EdgeVerdict:
    """One output under one probe; without a name where the call as a whole is meant."""

    probe: str
    output: str
    same: bool
    wanted: str  # what PyTorch gives
    how: str = ""  # in what the artifact differs
    count: int = 0  # at how many elements
    why: str = ""  # what the runtime says


@dataclass(frozen=True)
class Verdict:
    status: Literal["passed", "failed", "not run", "skipped"]
    outputs: tuple[OutputVerdict, ...]
    cases: int
    notes: tuple[str, ...] = ()
    edges: tuple[EdgeVerdict, ...] = ()

    @property
    def passed(self) -> bool:
        return self.status == "passed"

    @property
    def worst(self) -> OutputVerdict | None:
        return max(self.outputs, key=lambda verdict: verdict.used, default=None)


@dataclass(frozen=True)
class Clause:
    """One term of a contract: a measure of an output, and the bound that it must keep in every case."""

    text: str  # as the user wrote it
    measure: str  # a metric's name, or "file.py:name"
    output: str | None = None  # None: every float output
    sign: Literal[">=", "<=", ""] = ""
    bound: float = 0.0
    function: Callable[[Array, Array], Any] | None = field(default=None, repr=False, compare=False)  # the user's own


@dataclass(frozen=True)
class Terms:
    """What a user asks of the verdict: beside the error budget, or in its place."""

    contract: tuple[Clause, ...] = ()
    atol: float | None = None
    rtol: float | None = None
    strict_edges: bool = False  # another edge behaviour than PyTorch's is a failure


NO_TERMS = Terms()  # the error budget alone
