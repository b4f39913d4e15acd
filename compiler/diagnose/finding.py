"""The smallest piece that shows a difference, with the arrays that show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from compiler.contracts import Arrays
from compiler.diagnose.values import Truth
from compiler.verdicts import OutputVerdict


@dataclass(frozen=True)
class Finding:
    nodes: Sequence[ir.Node]
    verdict: OutputVerdict  # on the piece's own worst result
    inputs: Arrays
    truth: Truth  # of the piece's results
    got: Arrays
    graphs: Mapping[str, ir.Model] = field(default_factory=dict)  # by the name of the file
    error_in: float | None = None  # of what reaches the piece when everything runs, in units of rounding
    elsewhere: int = 0  # how many other places are wrong by themselves
