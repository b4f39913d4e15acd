"""Lower precision in words: two verdicts, and what became of the layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compiler.report import words


def sentence(manifest: Mapping[str, Any]) -> str:
    """One plain sentence: what it keeps of the model, and that it is the graph that was asked for."""
    verdict, low = manifest["verdict"], manifest["precision"]
    precisions = dict.fromkeys((low["precision"], low["rest"], *(name for _, name in low["own"])))
    in_these = " and ".join(name for name in precisions if name != "float32")
    runtime = f"{manifest['artifact']['runtime']} in {in_these}"
    if verdict["status"] == "skipped":
        return f"Built for {runtime}; nothing is known about its numbers, because it was not verified."
    if verdict["status"] == "failed":
        return f"REJECTED: on {runtime} {_broken(verdict, low['fidelity'])}."
    begin = f"On {runtime} it"
    if verdict["status"] == "not run":
        begin = f"BUILT, NOT RUN: {runtime} cannot run here; the graph it was built from"
        if not verdict["outputs"]:
            return f"{begin} was not verified, and nothing is known about its numbers."
    return (
        f"{begin} keeps what was promised of the model ({_kept(verdict)}), and computes its own graph within "
        f"{words.percent(_used(low['fidelity']))} of that graph's error budget."
    )


def _broken(verdict: Mapping[str, Any], fidelity: Mapping[str, Any] | None) -> str:
    for output in verdict["outputs"]:
        for promise in output["promises"]:
            if not promise["passed"]:
                return f"a promise is broken: {_told(output['output'], promise)}"
        if not output["passed"]:
            return f"the output '{output['output']}' is not what the model computes: {output['why']}"
    for output in (fidelity or {}).get("outputs", ()):
        if not output["passed"]:
            return f"the output '{output['output']}' is not what its own graph computes: {output['why']}"
    return "the edge behaviour is not the model's, as --strict-edges asks for"


def _kept(verdict: Mapping[str, Any]) -> str:
    told = [_told(output["output"], promise) for output in verdict["outputs"] for promise in output["promises"]]
    return "; ".join(told) or f"{words.percent(_used(verdict))} of the error budget"


def _told(output: str, promise: Mapping[str, Any]) -> str:
    text = promise["text"] if promise["text"].startswith(f"{output}:") else f"{output}:{promise['text']}"
    return f"{text}, {float(promise['worst']):.6g} at worst"


def _used(verdict: Mapping[str, Any]) -> float:
    return max((float(output["used"]) for output in verdict["outputs"]), default=0.0)


def layers(low: Mapping[str, Any]) -> tuple[Sequence[str], Iterator[Sequence[str]]]:
    """The head of a table, and its rows."""
    rows = (
        (
            layer["name"],
            layer["operator"],
            layer["precision"],
            f"{layer['bits']:.2f}",
            f"{layer['weights']:,}",
            "" if layer["error"] is None else f"{float(layer['error']):.2e}",
            layer["why"],
        )
        for layer in low["layers"]
    )
    return ("layer", "operator", "precision", "bits", "weights", "error so far", ""), rows


def summary(low: Mapping[str, Any]) -> str:
    """How many layers are in what, and how many bits a weight has on average."""
    counts: dict[str, int] = {}
    for layer in low["layers"]:
        counts[layer["precision"]] = counts.get(layer["precision"], 0) + 1
    weights = sum(layer["weights"] for layer in low["layers"])
    bits = sum(layer["bits"] * layer["weights"] for layer in low["layers"]) / weights if weights else 32.0
    kinds = ", ".join(f"{count} in {kind}" for kind, count in counts.items())
    return f"layers: {kinds}; {bits:.1f} bits a weight"
