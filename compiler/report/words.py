"""Numbers and verdicts in words, the same in every kind of report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any


def sentence(manifest: Mapping[str, Any]) -> str:
    """One plain sentence: what was built and how equal it is."""
    if manifest["precision"] is not None:
        from compiler.report import precision  # which is written in these words

        return precision.sentence(manifest)
    verdict, runtime = manifest["verdict"], manifest["artifact"]["runtime"]
    if verdict["status"] == "skipped":
        return f"Built for {runtime}; nothing is known about its numbers, because it was not verified."
    if verdict["status"] == "failed":
        bad = [output for output in verdict["outputs"] if not output["passed"]]
        if not bad:
            return f"REJECTED: on {runtime} the edge behaviour is not the model's, as --strict-edges asks for."
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
    if asked := _deciding(verdict):
        return (
            f"On {runtime} it keeps the {asked} that was asked for IN PLACE OF the error budget: {verdict['cases']} "
            f"cases; its share of that budget: {percent(worst)}."
        )
    return (
        f"On {runtime} it computes what the model computes: {verdict['cases']} cases, "
        f"at most {percent(worst)} of the error budget used."
    )


def promise(verdict: Mapping[str, Any]) -> str:
    """What a bundle was accepted for."""
    asked = _deciding(verdict)
    return f"keeps the {asked} that it was compiled with" if asked else "computes what the model computes"


def _deciding(verdict: Mapping[str, Any]) -> str:
    """What decided beside the budget, in words; nothing where nothing did."""
    others = (output["decided"] for output in verdict["outputs"] if output["decided"] != "budget")
    return " and the ".join(dict.fromkeys(others))


def edge_behaviour(verdict: Mapping[str, Any], shown: int = 3) -> str:
    """The second verdict in a line; nothing where nothing was probed."""
    edges = verdict["edges"]
    if not edges:
        return ""
    probes = {edge["probe"] for edge in edges}
    other = [edge for edge in edges if not edge["same"]]
    text = f"edge behaviour: {len(probes - {edge['probe'] for edge in other})} of {len(probes)} probes as PyTorch"
    more = f"; and {len(other) - shown} more" if len(other) > shown else ""
    return "; ".join([text, *map(edge_difference, other[:shown])]) + more


def edge_difference(edge: Mapping[str, Any]) -> str:
    output = f" gives in '{edge['output']}'" if edge["output"] else ":"
    return f"{edge['probe']}{output} {edge_how(edge)}"


def edge_how(edge: Mapping[str, Any]) -> str:
    count = edge["count"]
    if count:
        return f"{edge['how']} at {count} element{'s' if count > 1 else ''}"
    return f"{edge['how']} ({edge['why']})" if edge["why"] else str(edge["how"])


def budget(output: Mapping[str, Any]) -> str:
    """How much of it an output uses, and by what."""
    parts = ", ".join(f"{name} {percent(share)}" for name, share in output["shares"].items())
    return f"{percent(output['used'])} ({parts})" if len(output["shares"]) > 1 else percent(output["used"])


def mark(output: Mapping[str, Any]) -> str:
    """An output's verdict in a table, and what decided it if that was not the budget."""
    word = "passed" if output["passed"] else "FAILED"
    return word if output["decided"] == "budget" else f"{word} by {output['decided']}"


def status(word: str) -> str:
    """A verdict's status in a table; what was not shown is loud."""
    return {"failed": "REJECTED", "not run": "BUILT, NOT RUN", "skipped": "not verified", "unknown": "not known"}.get(
        word, word
    )


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


# What neither XML nor HTML can hold, escaped or not; a runtime's message may have colours in it.
_UNWRITABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd\U00010000-\U0010ffff]")


def printable(text: str) -> str:
    return _UNWRITABLE.sub("�", text)
