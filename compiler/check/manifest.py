"""The manifest: which models are held to their numbers, on which targets.

    [mynet]
    model = "mynet.py:build"
    inputs = ["x:float32[batch=1..32,16]"]
    targets = ["onnxruntime", "openvino"]

One table for each model. What stands in the table [check] holds for every model that does not say otherwise. Files are
looked for in the manifest's own folder, and then in the folders above it.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from compiler.errors import UsageError, did_you_mean
from compiler.precision.recipe import mixture

DEFAULT = "parity.toml"
SHARED = "check"  # the table that speaks for all models
SIZES = ("full", "small")

_OWN_MEASURE = re.compile(r"(?P<output>(?:.+:)?)(?P<file>[^:]+\.py)(?P<rest>:.+)")
_FACTORY = re.compile(r"(?P<file>.+\.py):(?P<name>[\w.]+)")


@dataclass(frozen=True)
class Entry:
    """One model, with everything that decides what is compiled and how it is judged."""

    name: str
    model: str
    targets: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    data: Path | None = None
    factory: str | None = None
    translate: str | None = None
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of each target
    expect: Mapping[str, int] = field(default_factory=dict)  # operator -> how many the optimized graph must hold
    effort: str = "normal"
    seed: int = 0
    trust: bool = False
    contract: tuple[str, ...] = ()
    atol: float | None = None
    rtol: float | None = None
    lift_random: bool = False
    precision: str = "float32"
    method: str = "auto"
    calibration: str | None = None  # a file, a folder, or "file.py:name"
    keep: tuple[str, ...] = ()  # layers that stay in float32
    may_only_be_built: tuple[str, ...] = ()  # targets
    known_failures: Mapping[str, str] = field(default_factory=dict)  # target -> why
    files: tuple[Path, ...] = ()  # what else its numbers depend on
    line: int = 1  # of the manifest


@dataclass(frozen=True)
class Manifest:
    path: Path
    entries: tuple[Entry, ...]

    def chosen(self, only: Iterable[str], targets: Iterable[str]) -> tuple[Entry, ...]:
        """What `--only` and `--target` leave; nothing said is everything."""
        names, wanted = list(only), list(targets)
        known = [entry.name for entry in self.entries]
        for name in names:
            if name not in known:
                hint = did_you_mean(name, known) or f"one of {', '.join(known)}"
                raise UsageError("unknown-model", f"'{self.path}' has no model '{name}'", hint=hint)
        left = []
        for entry in self.entries:
            kept = tuple(target for target in entry.targets if not wanted or target in wanted)
            if kept and (not names or entry.name in names):
                left.append(replace(entry, targets=kept))
        if not left:
            raise UsageError(
                "nothing-to-check",
                "no model is left to check",
                why=f"'{self.path}' has none" if not self.entries else "none of them is compiled for that target",
                hint="compile check with other --only or --target, or none",
            )
        return tuple(left)


def read(path: Path, *, size: str | None = None, effort: str | None = None) -> Manifest:
    """The manifest as it is written; `size` and `effort`, where they are given, win over what it says."""
    tables, lines = _parse(path)
    shared = tables.pop(SHARED, {})
    chosen = size or _size(path, shared)
    _refuse_unknown(path, SHARED, shared, _OF_ALL)
    entries = []
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise _bad(path, f"'{name}' stands outside of any model", hint=f"put it below [{SHARED}] or a model's name")
        _refuse_unknown(path, name, table, _OF_ONE)
        merged = {**{key: value for key, value in shared.items() if key != "size"}, **table}
        if effort is not None:
            merged["effort"] = effort
        entries.append(_entry(path, name, merged, chosen, lines.get(name, 1)))
    return Manifest(path, tuple(entries))


def _parse(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    if not path.is_file():
        raise UsageError(
            "no-manifest",
            f"there is no manifest '{path}'",
            hint=f"compile check MANIFEST, or a {DEFAULT} here: docs/ci.md shows one of four lines",
        )
    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _bad(path, "it is no TOML", why=str(error)) from error
    heads = enumerate(text.splitlines(), start=1)
    found = {match[1]: number for number, line in heads if (match := re.match(r"""\s*\[\s*["']?([^\]"']+)""", line))}
    return tables, found


def _size(path: Path, shared: Any) -> str:
    if not isinstance(shared, dict):
        raise _bad(path, f"'{SHARED}' is the table that speaks for all models", hint=f"[{SHARED}]")
    size = shared.get("size", SIZES[0])
    if size not in SIZES:
        raise _bad(path, f"there is no size {size!r}", where=f"[{SHARED}]", hint=f"one of {', '.join(SIZES)}")
    return str(size)


def _entry(path: Path, name: str, table: Mapping[str, Any], size: str, line: int) -> Entry:
    said = {key: _checked(path, name, key, value) for key, value in table.items() if key in _OF_ONE}

    def sized(key: str, otherwise: Any) -> Any:
        return said.get(f"{size}_{key}", said.get(key, otherwise))

    if "targets" not in said:
        hint = f'targets = ["onnxruntime"], here or in [{SHARED}]'
        raise _bad(path, "no targets are given", where=f"[{name}]", hint=hint)
    folder = path.resolve().parent
    data, options = said.get("data"), said.get("options", {})
    _fitting_precision(path, name, said)
    return Entry(
        name,
        _placed(folder, _model(path, name, said, size)),
        tuple(dict.fromkeys(said["targets"])),
        tuple(sized("inputs", ())),
        _found(folder, data) if data is not None else None,
        _placed(folder, said["factory"]) if "factory" in said else None,
        _placed(folder, said["translate"]) if "translate" in said else None,
        options,
        sized("expect", {}),
        said.get("effort", Entry.effort),
        said.get("seed", Entry.seed),
        said.get("trust", Entry.trust),
        tuple(_clause(folder, text) for text in said.get("contract", ())),
        said.get("atol"),
        said.get("rtol"),
        said.get("lift_random", Entry.lift_random),
        said.get("precision", Entry.precision),
        said.get("method", Entry.method),
        _placed(folder, said["calibration"]) if "calibration" in said else None,
        tuple(said.get("keep", ())),
        tuple(said.get("may_only_be_built", ())),
        said.get("known_failures", {}),
        tuple(file for pattern in said.get("files", ()) for file in _files(path, name, folder, pattern)),
        line,
    )


def _fitting_precision(path: Path, name: str, said: Mapping[str, Any]) -> None:
    try:
        precision, _ = mixture(said.get("precision", Entry.precision))
    except UsageError as error:
        raise _bad(path, error.message, where=f"[{name}]", hint=error.hint) from error
    if precision == "float32":
        for key in ("method", "calibration", "keep"):
            if key in said:
                raise _bad(path, f"'{key}' means nothing in float32", where=f"[{name}]", hint='precision = "int8"')


def _model(path: Path, name: str, said: Mapping[str, Any], size: str) -> str:
    """`model` says it in one word; `file` with `full` and `small` says it for two sizes."""
    if "model" in said:
        return str(said["model"])
    factory = said.get(size, said.get("full"))
    if "file" not in said or factory is None:
        raise _bad(path, "no model is given", where=f"[{name}]", hint='model = "mynet.py:build", or a file')
    return f"{said['file']}:{factory}"


# -- files ------------------------------------------------------------------------------------------------------


def _placed(folder: Path, reference: str) -> str:
    """A path or `file.py:name` with the path where it is; `package.module:name` stays as it is."""
    if match := _FACTORY.fullmatch(reference):
        return f"{_found(folder, match['file'])}:{match['name']}"
    found = _found(folder, reference)
    return reference if ":" in reference and not found.exists() else str(found)


def _clause(folder: Path, text: str) -> str:
    """A clause of a contract with the path of its function where it is."""
    match = _OWN_MEASURE.fullmatch(text)
    return f"{match['output']}{_found(folder, match['file'])}{match['rest']}" if match else text


def _found(folder: Path, text: str) -> Path:
    """Beside the manifest or in the nearest folder above; what is nowhere is told when it is compiled."""
    places = (place / text for place in (folder, *folder.parents))
    return next((place for place in places if place.exists()), folder / text)


def _files(path: Path, name: str, folder: Path, pattern: str) -> list[Path]:
    found = sorted(file for file in folder.glob(pattern) if file.is_file())
    if not found:
        raise _bad(path, f"files: nothing is called '{pattern}'", where=f"[{name}]", why=f"looked for in {folder}")
    return found


# -- what may stand in it ---------------------------------------------------------------------------------------


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _counts(value: Any) -> bool:
    return isinstance(value, dict) and all(type(count) is int and count >= 0 for count in value.values())


def _tables(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, dict) for one in value.values())


def _reasons(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _whole(value: Any) -> bool:
    return type(value) is int and value >= 0


def _tolerance(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0


Kind = tuple[Callable[[Any], bool], str]
_LIST, _NAME = (_texts, "a list of texts"), (_text, "a text")

# What stands in [check] holds for all models.
_OF_ALL: dict[str, Kind] = {
    "targets": _LIST,
    "effort": _NAME,
    "seed": (_whole, "a whole number"),
    "may_only_be_built": _LIST,
    "options": (_tables, "a table for each target"),
    "trust": (_flag, "true or false"),
    **dict.fromkeys(("atol", "rtol"), (_tolerance, "a number that is not negative")),
    "contract": _LIST,
    "size": _NAME,
}
_OF_ONE: dict[str, Kind] = {
    **{key: kind for key, kind in _OF_ALL.items() if key != "size"},
    **dict.fromkeys(("model", "file", "full", "small", "data", "factory", "translate"), _NAME),
    **dict.fromkeys(("precision", "method", "calibration"), _NAME),
    **dict.fromkeys(("inputs", "small_inputs", "files", "keep"), _LIST),
    "lift_random": (_flag, "true or false"),
    "known_failures": (_reasons, "targets with the reason of each"),
    **dict.fromkeys(("expect", "small_expect"), (_counts, "operators with how many of each")),
}
_REMARKS = ("family", "note", "parameters")  # for readers; `size` of a model is one, too


def _refuse_unknown(path: Path, table: str, said: Mapping[str, Any], known: Mapping[str, Kind]) -> None:
    allowed = [*known, *_REMARKS, "size"]
    for key, value in said.items():
        if key not in allowed:
            hint = did_you_mean(key, allowed) or f"one of {', '.join(known)}"
            raise _bad(path, f"there is no '{key}'", where=f"[{table}]", hint=hint)
        if key in known:
            _checked(path, table, key, value)


def _checked(path: Path, table: str, key: str, value: Any) -> Any:
    fits, kind = _OF_ONE.get(key) or _OF_ALL[key]
    if not fits(value):
        raise _bad(path, f"'{key}' must be {kind}, not {value!r}", where=f"[{table}]")
    return value


def _bad(
    path: Path, message: str, *, where: str | None = None, why: str | None = None, hint: str | None = None
) -> UsageError:
    return UsageError("bad-manifest", f"'{path}': {message}", where=where, why=why, hint=hint)
