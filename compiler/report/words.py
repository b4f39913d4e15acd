"""Numbers and verdicts in words, the same in every kind of report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def sentence(manifest: Mapping[str, Any]) -> str:
    """One plain sentence: what was built and how equal it is."""
    verdict, runtime = manifest["verdict"], manifest["artifact"]["runtime"]
    if verdict["status"] == "skipped":
        return f"Built for {runtime}; nothing is known about its numbers, because it was not verified."
    if verdict["status"] == "failed":
        bad = [output for output in verdict["outputs"] if not output["passed"]]
        return (
            f"REJECTED: on {runtime} the output '{bad[0]['output']}' is not what the model computes: {bad[0]['why']}."
        )
    worst = max((float(output["used"]) for output in verdict["outputs"]), default=0.0)
    if verdict["status"] == "not run":
        proof = (
            f"the graph it was built from computes what the model computes: {verdict['cases']} cases on plumbline's "
            f"evaluator, at most {percent(worst)} of the error budget used."
            if verdict["outputs"]
            else "and nothing is known about its numbers, because it was not verified."
        )
        return f"BUILT, NOT RUN: {runtime} cannot run here; {proof}"
    return (
        f"On {runtime} it computes what the model computes: {verdict['cases']} cases, "
        f"at most {percent(worst)} of the error budget used."
    )


def status(word: str) -> str:
    """A verdict's status in a table; what was not shown is loud."""
    return {"failed": "REJECTED", "not run": "BUILT, NOT RUN", "skipped": "not verified"}.get(word, word)


def percent(share: float | str) -> str:
    """A share of the budget; it comes as a word where JSON has no number for it."""
    value = float(share)
    if value == float("inf"):
        return "all and more"
    if value > 10:
        return f"{value:.3g} times it"
    return f"{value:.1%}" if value < 0.1 else f"{value:.0%}"


def element(worst: Mapping[str, Any] | None) -> str:
    if worst is None:
        return ""
    return f"{list(worst['index'])}: {float(worst['got']):.9g} / {float(worst['want']):.9g}"


def dims(extents: Iterable[Any]) -> str:
    return f"[{', '.join(dim(extent) for extent in extents)}]"


def dim(extent: Any) -> str:
    if not isinstance(extent, Mapping):
        return str(extent)
    step = f"{extent['step']}*" if extent["step"] != 1 else ""
    return f"{extent['name']}={step}{extent['lo'] // extent['step']}..{extent['hi'] // extent['step']}"


def size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def change(before: int, after: int) -> str:
    return size(after) if before == after else f"{size(before)} → {size(after)}"
