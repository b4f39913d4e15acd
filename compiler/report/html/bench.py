"""The page of a bench."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compiler.report import bench, words
from compiler.report.html import timing
from compiler.report.html.machine import environment
from compiler.report.html.page import Head, State, page


def html(name: str, data: Mapping[str, Any]) -> str:
    """`data` is what `compile bench --json` tells."""
    tables: Sequence[bench.Table] = data["tables"]
    sentences = [bench.sentence(one) for one in tables]
    state, word = _state(tables)
    cores = {"cores used": tables[0]["cores"]} if tables[0]["cores"] else {}
    sections = [*timing.sections(tables), environment(data["host"], data["versions"], cores)]
    if data.get("profiles"):
        sections.insert(-1, timing.operators(data["profiles"]))
    return page(Head(name, "compile bench", state, word, " ".join(sentences), _facts(tables)), sections, data)


def _state(tables: Sequence[bench.Table]) -> tuple[State, str]:
    rows = [row for one in tables for row in one["rows"]]
    if different := [row["name"] for row in rows if row["error"]["status"] == "failed"]:
        return "bad", f"THE NUMBERS OF {different[0]} DIFFER"
    if failed := [row["name"] for row in rows if row["failure"]]:
        return "warn", f"{failed[0]} WAS NOT TIMED"
    if unknown := [row for row in rows if row["error"]["status"] != "passed"]:
        return "warn", f"THE NUMBERS OF {unknown[0]['name']}: {words.status(unknown[0]['error']['status'])}"
    if beyond := [row["name"] for row in rows if not timing.within(row)]:
        return "warn", f"THE NUMBERS OF {beyond[0]} ARE WHAT A CONTRACT ALLOWS"
    return "good", "ALL NUMBERS ARE EQUAL"


def _facts(tables: Sequence[bench.Table]) -> list[tuple[str, str]]:
    best = bench.fastest(tables[0])
    if best is None:
        return []
    facts = [("fastest", best["name"]), ("median", f"{1000 * best['latency']['p50']:.3g} ms")]
    if best["ratio"] is not None:
        facts += [(f"of the time of {tables[0]['against']}", bench.ratio(best["ratio"]))]
    return facts
