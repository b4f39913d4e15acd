"""What an artifact is held against: inputs, PyTorch's answers and the float64 ones, and what they were chosen from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from compiler.contracts import Array, Arrays

ORDINARY = "ordinary"  # data as a model usually gets it: normal floats, indices in range, padding masks


@dataclass(frozen=True)
class Scores:
    """What an output of indices was chosen from: for each row of candidates those that are near one that was chosen.

    A row's candidates stand from `starts[row]` to `starts[row + 1]` in `index`, rising, and in `values`.
    """

    row: Array  # for each element of the output, the row that it points into
    starts: Array
    index: Array
    values: Array  # the oracle's
    dtype: str  # what the model computes them in
    count: int  # of all scores, of which rms and worst are PyTorch's error, and scale the size
    rms: float
    worst: float
    scale: float


@dataclass(frozen=True)
class Decision:
    """A place where the program decides, so near a boundary that rounding may decide otherwise.

    What was chosen in one row of an operator's result: the indices of a topk, a rounded number, a comparison.
    """

    site: str  # the operator, its size, and which of such calls it is
    row: int
    have: tuple[float, ...]
    other: tuple[float, ...]
    share: float  # of the budget for rounding at this place, how much separates the two
    line: str = ""  # of the user's Python

    def __str__(self) -> str:
        operator = self.site.partition(" ")[0].lstrip("_")
        return f"{operator} at {self.line}" if self.line else operator


@dataclass(frozen=True)
class Branch:
    """The answers to a case where some decisions are taken the other way."""

    taken: tuple[Decision, ...]
    outputs: Arrays
    oracle: Arrays
    close: tuple[Decision, ...] = ()  # what is near a boundary then


@dataclass(frozen=True)
class Case:
    """One draw of inputs at one choice of sizes, with the answers.

    `outputs` are PyTorch's own; `oracle` is the same program with every float operation in float64.
    """

    name: str
    sizes: Mapping[str, int]
    inputs: Arrays
    outputs: Arrays
    oracle: Arrays
    draw: int | None = None  # which draw at these sizes; None for data that was given
    kind: str = ORDINARY  # how the data is distributed; errors are counted apart for each kind
    shaken: Arrays | None = None  # the oracle's where every input is off by a rounding; not for ordinary data
    scores: Mapping[str, Scores] = field(default_factory=dict)  # of outputs that are indices by value
    close: tuple[Decision, ...] = ()  # in the midst of the program, within rounding of another choice
    unlisted: int = 0  # how many more there were
    branches: tuple[Branch, ...] = ()  # answers for other choices, as far as they were asked for


@dataclass(frozen=True)
class Edge:
    """Data at the edge of what a model is made for, and what PyTorch makes of it; no outputs where it raises."""

    name: str
    inputs: Arrays
    outputs: Arrays
    raised: str = ""


@dataclass(frozen=True)
class Reference:
    """Captured once at the front; afterwards only `validate` reads it."""

    cases: tuple[Case, ...]
    producer: str  # who gave the answers: "PyTorch 2.13.0, eager"
    seed: int
    notes: tuple[str, ...] = ()  # what was capped or left out, in words
    edges: tuple[Edge, ...] = ()
    seconds: float = 0.0  # that all of it took


Otherwise = Callable[[Case, tuple[Decision, ...]], Branch | None]  # None where that cannot be had
