"""What a bundle says about itself: from a job's outcome to the manifest."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from compiler import __version__, terms
from compiler.bundle import signature_to_json
from compiler.cases import Reference
from compiler.job import Job, Outcome
from compiler.verdicts import Verdict

# The packages whose version can change a number.
_PACKAGES = ("torch", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "onnxsim", "transformers", "numpy", "ml_dtypes")


def manifest(job: Job, outcome: Outcome, host: Mapping[str, Any]) -> dict[str, Any]:
    facts, artifact = outcome.facts, outcome.artifact
    return {
        "plumbline": __version__,
        "target": job.target,
        "source": asdict(facts.source),
        "versions": versions(),
        "host": dict(host),
        "options": {"seed": job.seed, "effort": job.effort, "verify": job.verify, "target": dict(job.options)},
        "terms": terms.to_json(outcome.judged.terms),
        "precision": _precision(outcome),
        "passes": [asdict(record) for record in facts.passes],
        "operators": dict(facts.operators),
        "artifact": {**asdict(artifact), "signature": signature_to_json(artifact.signature)},
        "effective": dict(outcome.effective),
        "reference": _reference(job, outcome),
        "verdict": verdict_to_json(outcome.verdict),
    }


def _precision(outcome: Outcome) -> dict[str, Any] | None:
    """What was asked for, what became of each layer, and whether the runtime computes the graph that says so."""
    low = outcome.judged.low
    if low is None:
        return None
    return {
        **asdict(low.recipe),
        "layers": [asdict(layer) for layer in low.layers],
        "fidelity": None if low.fidelity is None else verdict_to_json(low.fidelity),
    }


def versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _reference(job: Job, outcome: Outcome) -> dict[str, Any] | None:
    reference: Reference | None = outcome.reference
    if reference is None:
        return None
    plan = outcome.facts.plan
    return {
        "producer": reference.producer,
        "seed": reference.seed,
        "effort": plan.effort,
        "inputs": [asdict(spec) for spec in plan.specs],
        "ranges": {name: asdict(allowed) for name, allowed in plan.ranges.items()},
        "cases": [case.name for case in reference.cases],
        "seconds": round(reference.seconds, 2),
        "notes": list(reference.notes),
    }


def verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    data: dict[str, Any] = _finite(asdict(verdict))
    return data


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN; they are written as words."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(child) for child in value]
    return value
