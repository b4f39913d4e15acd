"""The result of a check as JUnit XML: a suite for each model, a case for each target."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from xml.etree import ElementTree

from compiler.check.judge import Judged
from compiler.check.render import lines
from compiler.report.words import printable


def junit(judged: Sequence[Judged]) -> str:
    root = ElementTree.Element("testsuites", {"name": "compile check", **_counts(judged)})
    for model, group in groupby(judged, key=lambda one: one.cell.model):
        cells = list(group)
        suite = ElementTree.SubElement(root, "testsuite", {"name": printable(model), **_counts(cells)})
        for one in cells:
            _case(suite, one)
    ElementTree.indent(root)
    return f"<?xml version='1.0' encoding='utf-8'?>\n{ElementTree.tostring(root, encoding='unicode')}\n"


def _case(suite: ElementTree.Element, judged: Judged) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname=printable(judged.cell.model), name=judged.cell.target, time=_seconds([judged])
    )
    failing = [finding for finding in judged.findings if finding.fails]
    if failing:
        failure = ElementTree.SubElement(case, "failure", type=failing[0].kind, message=printable(failing[0].message))
        failure.text = printable("\n".join(finding.message for finding in failing))
    elif judged.measured is not None and judged.measured.status == "not run":
        ElementTree.SubElement(case, "skipped", message="built, not run")
    shown = zip(lines.COLUMNS, lines.row(judged), strict=True)
    remarks = [finding.message for finding in judged.findings if not finding.fails]
    out = ElementTree.SubElement(case, "system-out")
    out.text = printable("\n".join([*(f"{name}: {value}" for name, value in shown if value), *remarks]))


def _counts(judged: Sequence[Judged]) -> dict[str, str]:
    failed = sum(one.failed for one in judged)
    skipped = sum(not one.failed and one.measured is not None and one.measured.status == "not run" for one in judged)
    return {
        "tests": str(len(judged)),
        "failures": str(failed),
        "skipped": str(skipped),
        "errors": "0",
        "time": _seconds(judged),
    }


def _seconds(judged: Sequence[Judged]) -> str:
    """What this run took; a cached result took nothing."""
    spent = (one.measured for one in judged if one.measured is not None and not one.measured.cached)
    return f"{sum(measured.seconds for measured in spent):.3f}"
