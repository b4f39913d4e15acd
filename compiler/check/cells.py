"""What one model did on one target: the figures that are held against the lock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from compiler.errors import Exit, PlumblineError


@dataclass(frozen=True, order=True)
class Cell:
    model: str
    target: str

    def __str__(self) -> str:
        return f"{self.model} on {self.target}"


@dataclass(frozen=True)
class Numbers:
    """How far one output is off. An output that must be exact, and is, has nothing but zeros."""

    used: float  # the share of the budget that the worst element takes up
    rms: float  # of all elements together, in units of the model's own rounding
    error: float  # of the worst element


@dataclass(frozen=True)
class Figures:
    """What the lock keeps of a cell."""

    precision: str  # what it computes in, as the runtime tells it
    ran: bool  # False where it was built only, and the numbers are those of the graph it was built from
    bytes: int
    fusions: Mapping[str, int]
    versions: Mapping[str, str]
    outputs: Mapping[str, Numbers]
    edges: Mapping[str, str] = field(default_factory=dict)  # probe and output -> in what it differs from PyTorch
    promises: Mapping[str, float] = field(default_factory=dict)  # output and clause -> what it came to, at worst
    fidelity: Mapping[str, Numbers] = field(default_factory=dict)  # in lower precision: to its graph


@dataclass(frozen=True)
class Failure:
    """An error as data: it crosses processes and goes into reports."""

    code: str
    message: str
    exit_code: Exit
    details: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, error: PlumblineError) -> Failure:
        return cls(error.code, error.message, error.exit_code, tuple(error.details()))


Status = Literal["passed", "failed", "not run", "error"]


@dataclass(frozen=True)
class Measured:
    """A cell after its run. There are no figures where it could not be compiled, and a failure instead."""

    status: Status
    figures: Figures | None = None
    failure: Failure | None = None
    slack: Mapping[str, float] = field(default_factory=dict)  # output -> above 1 where few elements tell its rms
    why: Mapping[str, str] = field(default_factory=dict)  # output -> in words, for those that leave their budget
    operators: Mapping[str, int] = field(default_factory=dict)  # of the optimized graph
    declined: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # pass -> places that it left alone, and why
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    bundle: str = ""
    cached: bool = False


def to_json(measured: Measured) -> dict[str, Any]:
    return asdict(measured)


def from_json(data: Mapping[str, Any]) -> Measured:
    """Of what lasts: a failure is never kept."""
    return Measured(
        **{
            **data,
            "figures": figures_from_json(data["figures"]),
            "declined": {name: tuple(reasons) for name, reasons in data["declined"].items()},
            "notes": tuple(data["notes"]),
        }
    )


def figures_from_json(data: Mapping[str, Any]) -> Figures:
    numbers = {
        key: {name: Numbers(**found) for name, found in data.get(key, {}).items()} for key in ("outputs", "fidelity")
    }
    return Figures(**{**data, **numbers})


def failed(error: PlumblineError) -> Measured:
    return Measured("error", failure=Failure.of(error))
