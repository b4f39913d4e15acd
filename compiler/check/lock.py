"""parity.lock: what every cell's numbers were when somebody last looked at them and said yes.

TOML, sorted, with numbers of two digits, without times and places: it is made to be read as a diff.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from compiler.check.cells import Cell, Figures, Numbers
from compiler.errors import UsageError

NAME = "parity.lock"
SCHEMA = 1

Locked = Mapping[Cell, Figures]

_HEAD = """\
# What the numbers are held to. `compile check` compares with it, `compile check --update` writes it; commit it.
# For each output: `used`, the share of the error budget that its worst element takes up; `rms`, the error of all
# elements together in units of the model's own rounding; `error` of the worst element. `edges` are the probes under
# which it does not do as PyTorch does. `promises` are what a contract came to at worst; in lower precision `fidelity`
# is how far the runtime is from the graph that it was given. docs/ci.md tells the rules.
"""
_BARE = re.compile(r"[A-Za-z0-9_-]+")


# -- reading ----------------------------------------------------------------------------------------------------


def read(path: Path) -> Locked:
    if not path.is_file():
        raise UsageError(
            "no-lock",
            f"there is no lock '{path}'",
            why="nothing says yet what the numbers should be",
            hint="compile check --update writes it; review it and commit it",
        )
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        hint = "settle the conflict, or take the file of either side and run compile check --update"
        raise _bad(path, "it is no TOML", why=str(error), hint=hint) from error
    schema = data.pop("schema", None)
    if type(schema) is not int:
        raise _bad(path, "it does not say which schema it has", hint="remove it; compile check --update writes another")
    if schema > SCHEMA:
        raise _bad(
            path,
            "a newer version of plumbline wrote it",
            why=f"its schema is {schema}, this version reads up to {SCHEMA}",
            hint="update plumbline",
        )
    try:
        return {
            Cell(model, target): _figures(precision, table)
            for model, targets in data.items()
            for target, precisions in targets.items()
            for precision, table in precisions.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
        raise _bad(path, "a table of it is not as it should be", why=why, hint="remove the table") from error


def _figures(precision: str, table: Mapping[str, Any]) -> Figures:
    return Figures(
        precision,
        bool(table["ran"]),
        int(table["bytes"]),
        table.get("fusions", {}),
        table["versions"],
        _numbers(table.get("outputs", {})),
        table.get("edges", {}),
        {name: float(worst) for name, worst in table.get("promises", {}).items()},
        _numbers(table.get("fidelity", {})),
    )


def _numbers(table: Mapping[str, Any]) -> dict[str, Numbers]:
    return {
        name: Numbers(float(numbers["used"]), float(numbers["rms"]), float(numbers["error"]))
        for name, numbers in table.items()
    }


def _bad(path: Path, message: str, *, why: str | None = None, hint: str | None = None) -> UsageError:
    return UsageError("bad-lock", f"'{path}': {message}", why=why, hint=hint)


# -- writing ----------------------------------------------------------------------------------------------------


def write(path: Path, cells: Locked) -> None:
    """Beside its place first: an interrupted run leaves the lock that was there."""
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text(cells))
        Path(beside).chmod(0o644)
        Path(beside).replace(path)
    except BaseException:  # an interrupt as well
        Path(beside).unlink(missing_ok=True)
        raise


def text(cells: Locked) -> str:
    return "\n".join([_HEAD + f"schema = {SCHEMA}\n", *(_table(cell, cells[cell]) for cell in sorted(cells))])


def _table(cell: Cell, figures: Figures) -> str:
    return "".join(f"{line}\n" for line in _lines(cell, rounded(figures)))


def _lines(cell: Cell, figures: Figures) -> Iterator[str]:
    yield f"[{'.'.join(map(_key, (cell.model, cell.target, figures.precision)))}]"
    yield f"ran = {_value(figures.ran)}"
    yield f"bytes = {figures.bytes}"
    yield f"versions = {_inline(figures.versions)}"
    if figures.fusions:
        yield f"fusions = {_inline(figures.fusions)}"
    for kind in ("outputs", "fidelity"):
        for name, numbers in sorted(getattr(figures, kind).items()):
            yield f"{kind}.{_key(name)} = {_inline(vars(numbers), in_order=True)}"
    for name, worst in sorted(figures.promises.items()):
        yield f"promises.{_key(name)} = {_value(worst)}"
    for name, how in sorted(figures.edges.items()):
        yield f"edges.{_key(name)} = {_value(how)}"


def rounded(figures: Figures) -> Figures:
    """As it is written down: digits that differ from run to run would only make noise in a diff."""
    outputs, fidelity = (
        {
            name: Numbers(_round(numbers.used, 2), _round(numbers.rms, 2), _round(numbers.error, 2))
            for name, numbers in found.items()
        }
        for found in (figures.outputs, figures.fidelity)
    )
    # Two digits of how far it is from 1, which most of them are near to.
    promises = {name: _round(worst, 6) for name, worst in figures.promises.items()}
    return replace(figures, bytes=int(_round(figures.bytes, 3)), outputs=outputs, promises=promises, fidelity=fidelity)


def _round(number: float, digits: int) -> float:
    return float(f"{number:.{digits - 1}e}")


def _inline(table: Mapping[str, Any], *, in_order: bool = False) -> str:
    names = list(table) if in_order else sorted(table)
    return f"{{ {', '.join(f'{_key(name)} = {_value(table[name])}' for name in names)} }}"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _value(value: Any) -> str:
    # JSON's texts, truths and numbers are TOML's as well.
    return f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
