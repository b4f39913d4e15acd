"""report.md: the verdict first, then everything it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from compiler.report import words


def markdown(name: str, manifest: Mapping[str, Any]) -> str:
    source, artifact = manifest["source"], manifest["artifact"]
    lines = [f"# {name}", "", f"**{words.sentence(manifest)}**", ""]
    lines += _section("Verdict", _verdict(manifest))
    if manifest["verdict"]["edges"]:
        lines += _section("Edge behaviour", _edges(manifest["verdict"]["edges"]))
    if manifest["precision"] is not None:
        lines += _section("Precision", _precision(manifest["precision"]))
    lines += _section("Inputs and outputs", _signature(artifact["signature"]))
    lines += _section(
        "What it was made from",
        _table(
            ("", ""),
            [
                ("source", f"`{source['path']}`"),
                ("format", f"{source['format']}, through {source['route']}"),
                ("sha256", f"`{source['sha256']}`" if source["sha256"] else "none (a live object)"),
                *((key, str(value)) for key, value in source["facts"].items() if value),
            ],
        ),
    )
    lines += _section("What it runs at", _table(("", ""), [(k, str(v)) for k, v in _running(manifest).items()]))
    lines += _section("Passes", _passes(manifest["passes"]))
    lines += _section("Versions", _table(("package", "version"), manifest["versions"].items()))
    host = {**manifest["host"], "cpu_features": " ".join(manifest["host"]["cpu_features"])}
    lines += _section("Machine", _table(("", ""), [(key, str(value)) for key, value in host.items()]))
    return "\n".join(lines)


def _running(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {"runtime": manifest["artifact"]["runtime"], **manifest["effective"], **manifest["artifact"]["options"]}


def _section(title: str, body: Iterable[str]) -> list[str]:
    return [f"## {title}", "", *body, ""]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return lines + [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _verdict(manifest: Mapping[str, Any]) -> list[str]:
    verdict, reference = manifest["verdict"], manifest["reference"]
    if reference is None:
        return [*verdict["notes"]]
    rows = [
        (
            output["output"],
            words.mark(output) if output["passed"] else f"**{words.mark(output)}**",
            words.budget(output),
            output["why"],
            words.element(output["worst"]),
            output["case"],
        )
        for output in verdict["outputs"]
    ]
    lines = _table(("output", "verdict", "of its budget", "worst element", "got / want", "case"), rows)
    promises = [(output["output"], promise) for output in verdict["outputs"] for promise in output["promises"]]
    if promises:
        lines += ["", "What was asked for in place of the error budget:", "", *_promises(promises)]
    lines += [
        "",
        f"Reference: {reference['producer']}, held against float64; seed {reference['seed']}; "
        f"{reference['seconds']:.1f} s.",
        "",
    ]
    lines += [f"- {case}" for case in reference["cases"]]
    return lines + [f"- note: {note}" for note in verdict["notes"]]


def _promises(promises: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    rows = [
        (
            output,
            f"`{promise['text']}`",
            "kept" if promise["passed"] else "**BROKEN**",
            f"{float(promise['worst']):.6g} ({promise['case']})",
            f"{float(promise['mean']):.6g}",
        )
        for output, promise in promises
    ]
    return _table(("output", "asked for", "", "worst case", "mean"), rows)


def _edges(edges: Sequence[Mapping[str, Any]]) -> list[str]:
    """What becomes of data that no model is made for."""
    rows = [
        (
            edge["probe"],
            edge["output"],
            edge["wanted"],
            "the same" if edge["same"] else f"**differs**: {words.edge_how(edge)}",
        )
        for edge in edges
    ]
    return _table(("probe", "output", "PyTorch gives", "here"), rows)


def _precision(low: Mapping[str, Any]) -> list[str]:
    from compiler.report import precision

    return [f"{precision.summary(low)}.", "", *_table(*precision.layers(low))]


def _signature(signature: Mapping[str, Any]) -> list[str]:
    rows = [
        (kind, spec["name"], spec["dtype"], words.dims(spec["dims"]))
        for kind in ("inputs", "outputs")
        for spec in signature[kind]
    ]
    return _table(("", "name", "dtype", "dims"), [(kind[:-1], *rest) for kind, *rest in rows])


def _passes(records: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        (
            record["name"],
            f"{record['nodes_before']} → {record['nodes_after']}" if record["modified"] else "no change",
            words.change(record["bytes_before"], record["bytes_after"]),
            f"{record['seconds'] * 1000:.0f} ms",
            f"{len(record['declined'])} declined" if record["declined"] else "",
        )
        for record in records
    ]
    return _table(("pass", "nodes", "weights", "time", ""), rows)
