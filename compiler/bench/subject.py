"""What is compared: bundles of one model, the data that they are timed on, and where the model itself can be had."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compiler import bundle as bundles
from compiler import recorded
from compiler.bench.names import names
from compiler.bundle import Bundle
from compiler.contracts import Arrays, Dim, TensorSpec
from compiler.errors import UsageError
from compiler.frontend.examples import check_inputs
from compiler.frontend.program import Request
from compiler.frontend.reference import ReferencePlan


@dataclass(frozen=True)
class Asked:
    """How the model was asked for: enough to load it again in another process."""

    request: Request
    constants: tuple[str, ...] = ()  # --input NAME=VALUE


@dataclass(frozen=True)
class Candidate:
    """A bundle, and how its runtime is set."""

    bundle: Bundle
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    candidates: Mapping[str, Candidate]  # under names that tell them apart
    plan: ReferencePlan
    asked: Asked | None  # None where the model is not at hand

    @property
    def dims(self) -> dict[str, Dim]:
        return self.plan.dims

    def usual(self, data: Arrays | None) -> dict[str, int]:
        """The sizes of the data; without any the smallest batch, and half of what else may vary."""
        if data is not None:
            return check_inputs(data, self.plan.specs)
        return {name: dim.lo if name == "batch" else _half(dim) for name, dim in self.dims.items()}

    def fixed(self, inputs: Arrays) -> tuple[str, ...]:
        """The specs at the sizes of this data."""
        return tuple(str(TensorSpec(spec.name, spec.dtype, tuple(inputs[spec.name].shape))) for spec in self.plan.specs)


def read(
    folders: Sequence[Path], asked: Asked | None, options: Callable[[str], Mapping[str, Any]] = lambda target: {}
) -> Subject:
    """`options` gives those of a target."""
    found = [bundles.read(folder) for folder in folders]
    first = found[0]
    for other in found[1:]:
        _hold_same(first, other)
    candidates = [Candidate(bundle, options(bundle.artifact.target)) for bundle in found]
    return Subject(dict(zip(names(found), candidates, strict=True)), recorded.plan(first), asked or _source(first))


def _hold_same(one: Bundle, other: Bundle) -> None:
    """Whether both are one model, with the same inputs: another comparison would mean nothing."""
    sources = [bundle.manifest["source"] for bundle in (one, other)]
    if _identity(sources[0]) != _identity(sources[1]):
        raise UsageError(
            "different-models",
            f"'{one.folder}' and '{other.folder}' are not the same model",
            why=f"one was made from {sources[0]['path']}, the other from {sources[1]['path']}"
            if sources[0]["path"] != sources[1]["path"]
            else f"{sources[0]['path']} was changed between the two",
            hint="compile both again from one model",
        )
    inputs = [bundle.artifact.signature.inputs for bundle in (one, other)]
    if inputs[0] != inputs[1]:
        raise UsageError(
            "different-models",
            f"'{one.folder}' and '{other.folder}' take different inputs",
            why=f"{', '.join(map(str, inputs[0]))} and {', '.join(map(str, inputs[1]))}",
            hint="compile both with the same --input",
        )


def _identity(source: Mapping[str, Any]) -> tuple[str, str]:
    """The content, and which factory of it."""
    return source["sha256"], source["path"].rpartition(":")[2] if source["format"] == "factory" else ""


def _source(bundle: Bundle) -> Asked | None:
    """The model that the bundle was made from, if it is still what it was."""
    source = bundle.manifest["source"]
    file = Path(source["path"].rpartition(":")[0] if source["format"] == "factory" else source["path"])
    return Asked(Request(source["path"])) if source["sha256"] and file.exists() else None


def _half(dim: Dim) -> int:
    return max(dim.lo, dim.hi // 2 // dim.step * dim.step)
