"""One model for one target: what was asked for, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compiler.bundle import REPRO
from compiler.cases import Reference
from compiler.contracts import Arrays, Artifact, PassPlan, PassRecord, Signature, Source
from compiler.frontend.program import Request
from compiler.frontend.reference import ReferencePlan
from compiler.precision.recipe import Layer, Recipe
from compiler.verdicts import NO_TERMS, Terms, Verdict

AS_USUAL = PassPlan()
FLOAT32 = Recipe()


@dataclass(frozen=True)
class Job:
    """One model for one target, with everything the user asked for."""

    request: Request
    target: str
    place: Path
    inputs: tuple[str, ...] = ()  # --input
    data: Arrays | None = None  # --inputs
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    effort: str = "quick"
    lift_random: bool = False
    verify: bool = True
    keep_provenance: bool = True
    require_run: bool = False
    passes: PassPlan = AS_USUAL
    terms: Terms = NO_TERMS
    recipe: Recipe = FLOAT32
    calibration: Any = None  # --calibration: a file, a folder, "file.py:name", or an iterable of samples
    bisect: float = 0.0  # seconds that may be spent on where the numbers begin to differ
    layers: bool = False  # errors in the midst of the graph as well
    page: bool = True  # report.html in the bundle; what is rejected has one in any case

    @property
    def repro(self) -> Path:
        """Where what led to a failure is kept."""
        return self.place.with_name(self.place.name + REPRO)


@dataclass(frozen=True)
class Facts:
    """What the manifest tells of the way from the source to the graph that was built from."""

    signature: Signature
    source: Source
    plan: ReferencePlan
    passes: tuple[PassRecord, ...]
    operators: Mapping[str, int]  # of the optimized graph, before a target has touched it


@dataclass(frozen=True)
class LowPrecision:
    """What became of the layers, and whether the runtime computes the graph that says so."""

    recipe: Recipe  # with what the target needs
    layers: tuple[Layer, ...]
    reference: Reference | None = None  # the answers of that graph
    fidelity: Verdict | None = None


@dataclass(frozen=True)
class Judged:
    """What the verdict on the model is, and what it rests on."""

    reference: Reference | None
    verdict: Verdict
    terms: Terms = NO_TERMS
    low: LowPrecision | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a job, before it is written down."""

    facts: Facts
    artifact: Artifact
    effective: Mapping[str, Any]
    judged: Judged

    @property
    def reference(self) -> Reference | None:
        return self.judged.reference

    @property
    def verdict(self) -> Verdict:
        return self.judged.verdict
