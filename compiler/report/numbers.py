"""How equal the numbers of a contender are, in a word for a table and in full below it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from compiler.report import words

_CLAUSE = re.compile(r"(?:.+:)?(?P<measure>[^:]+?)\s*(?P<sign>[<>]=)\s*(?P<bound>[^<>=]+)")

_UNPROVEN = {
    "not run": "it was built where it could not run, so that its numbers are not known",
    "skipped": "its numbers were not verified",
}
_TOLERANCE = "the share of --"  # how the promise begins that --atol and --rtol are told with

# compiler.bench.rows.Row as JSON.
Row = Mapping[str, Any]


def by_budget(row: Row) -> bool:
    """Whether its share of the error budget is all that there is to say."""
    error = row["error"]
    return not error["promises"] and error["fidelity"] is None and error["status"] == "passed"


def brief(row: Row) -> str:
    """For a cell of a table."""
    error = row["error"]
    if error["status"] == "failed":
        return "DIFFERS"
    if error["status"] != "passed" or error["used"] is None:
        return words.status(error["status"])
    if error["promises"]:
        first, *others = error["promises"]
        return _worst(first) + (f" +{len(others)}" if others else "")
    return words.percent(error["used"])


def full(row: Row) -> str:
    """What is said of it in a sentence."""
    error = row["error"]
    if error["status"] == "failed":
        return f"its numbers DIFFER: {_budget(error)}"
    if error["status"] != "passed" or error["used"] is None:
        return _UNPROVEN.get(error["status"], "its numbers are not known")
    if error["promises"]:
        told = f"it keeps {', '.join(map(_kept, error['promises']))}"
    else:
        told = f"it uses {_budget(error)}"
    if error["fidelity"] is not None:
        told += f", and {words.percent(error['fidelity'])} of the error budget of its own graph"
    return told


def _budget(error: Mapping[str, Any]) -> str:
    if error["used"] is None:
        return "they are not the model's"
    used = float(error["used"])
    return f"{used:.3g} times its error budget" if used > 10 else f"{words.percent(used)} of its error budget"


def _worst(promise: Mapping[str, Any]) -> str:
    """cosine 0.9964"""
    clause = _CLAUSE.fullmatch(promise["text"])
    if clause is not None:
        return f"{clause['measure']} {float(promise['worst']):.5g}"
    if promise["text"].startswith(_TOLERANCE):
        return f"tolerance {words.percent(promise['worst'])}"
    return "as asked for"  # a function that says yes or no


def _kept(promise: Mapping[str, Any]) -> str:
    clause = _CLAUSE.fullmatch(promise["text"])
    told = f"{_worst(promise)} ({clause['sign']} {clause['bound']})" if clause is not None else promise["text"]
    if promise["text"].startswith(_TOLERANCE):
        told = f"{promise['text'].removeprefix('the share of ')} ({words.percent(promise['worst'])} of it)"
    return f"{told} in '{promise['output']}'"
