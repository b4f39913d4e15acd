"""The answer to where the numbers part, in fields and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array, Arrays, dtype_name
from compiler.diagnose.finding import Finding
from compiler.ir.provenance import describe, provenance
from compiler.verdicts import OutputVerdict

Stage = Literal["none", "exporter", "pass", "runtime", "unknown"]


@dataclass(frozen=True)
class Place:
    """A node, and where in the user's model it comes from."""

    operator: str
    name: str
    module: str
    line: str
    words: str


@dataclass(frozen=True)
class Values:
    """What one input of the piece is like."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    range: str


@dataclass(frozen=True)
class Judged:
    """One stage of the way, and whether the numbers were still right after it; None where that cannot be told."""

    stage: str
    right: bool | None
    why: str


@dataclass(frozen=True)
class Diagnosis:
    stage: Stage
    culprit: str  # torch.export, the pass fuse-gelu, onnxruntime 1.31.1
    sentence: str
    stages: tuple[Judged, ...] = ()
    case: str = ""
    nodes: tuple[Place, ...] = ()
    output: str = ""  # the value that is wrong
    inputs: tuple[Values, ...] = ()
    error_in: float | None = None
    error_out: float | None = None
    why: str = ""
    elsewhere: int = 0
    notes: tuple[str, ...] = ()
    folder: str = ""

    @property
    def differs(self) -> bool:
        return self.stage != "none"

    def with_finding(self, finding: Finding) -> Diagnosis:
        computing = [node for node in finding.nodes if node.op_type != "Constant"]
        return replace(
            self,
            nodes=tuple(map(place_of, computing or finding.nodes)),
            output=finding.verdict.output,
            inputs=tuple(_values(name, array) for name, array in finding.inputs.items()),
            error_in=finding.error_in,
            error_out=_error(finding.verdict),
            why=finding.verdict.why,
            elsewhere=finding.elsewhere,
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def details(self) -> list[tuple[str, str]]:
        """Labelled lines, in the order in which they are shown."""
        rows = [(judged.stage, _told(judged)) for judged in self.stages]
        rows += [("where" if number == 0 else "", place.words) for number, place in enumerate(self.nodes[:_SHOWN])]
        if len(self.nodes) > _SHOWN:
            rows.append(("", f"and {len(self.nodes) - _SHOWN} more nodes"))
        rows += [
            ("input", f"{each.name}: {each.dtype}{list(each.shape)}, {each.range}") for each in self.inputs[:_SHOWN]
        ]
        if self.error_in is not None:
            rows.append(("error in", f"{self.error_in:,.3g} times the model's own rounding"))
        if self.why:
            rows.append(("error out", f"{self.output} is {self.why}"))
        if self.elsewhere:
            others = "one other place is" if self.elsewhere == 1 else f"{self.elsewhere} other places are"
            rows.append(("also", f"{others} wrong even where what goes in is right"))
        rows += [("note", note) for note in self.notes]
        rows += [("folder", self.folder)] if self.folder else []
        return rows


_SHOWN = 12


def place_of(node: ir.Node) -> Place:
    origin = provenance(node)
    operator = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
    line = f"{origin.file}:{origin.line}" if origin and origin.path else ""
    words = describe(node) if node.name else f"{describe(node)}, which gives '{node.outputs[0].name}'"
    return Place(operator, node.name or "", origin.module if origin else "", line, words)


def together(nodes: Sequence[Place]) -> str:
    """What a finding is called: its one operator, or the group."""
    operators = [place.operator for place in nodes]
    if len(operators) == 1:
        return nodes[0].operator
    return f"a group of {len(operators)} nodes ({', '.join(dict.fromkeys(operators))})"


def _values(name: str, array: Array) -> Values:
    return Values(name, dtype_name(array.dtype), array.shape, _range(array))


def _range(array: Array) -> str:
    if array.size == 0:
        return "empty"
    if array.dtype.kind in "bc":
        return f"{int(np.count_nonzero(array))} of {array.size} are not zero"
    wide = array.astype(np.float64) if array.dtype.kind not in "iu" else array
    finite = wide[np.isfinite(wide)]
    words = f"{finite.min():.6g} to {finite.max():.6g}" if finite.size else "nothing finite"
    return words if finite.size == array.size else f"{words}, and {array.size - finite.size} NaN or infinite"


def _error(verdict: OutputVerdict) -> float | None:
    """The pooled error in units; the worst element's, where that is what failed, is in the verdict's words."""
    return verdict.rms if np.isfinite(verdict.rms) and verdict.rms > 0 else None


def _told(judged: Judged) -> str:
    word = {True: "right", False: "WRONG", None: "cannot be told"}[judged.right]
    return f"{word}: {judged.why}" if judged.why else word


def arrays_of(finding: Finding) -> Mapping[str, Arrays]:
    """The files of arrays that go with a finding."""
    return {"inputs.npz": finding.inputs, "expected.npz": finding.truth.precise, "got.npz": finding.got}
