"""Options that several commands share, and what they may say."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from compiler.errors import UsageError, did_you_mean

F = TypeVar("F", bound=Callable[..., Any])


def speaking(command: F) -> F:
    """--json, --quiet and --debug, for every command."""
    for option in (
        click.option("--debug", is_flag=True, help="show the trace of an error"),
        click.option("--quiet", "-q", is_flag=True, help="no progress"),
        click.option("--json", "as_json", is_flag=True, help="the result as one JSON document on stdout"),
    ):
        command = option(command)
    return command


def limits(command: F) -> F:
    """--timeout and --memory-limit, for every command that starts a runtime."""
    for option in (
        click.option("--memory-limit", metavar="SIZE", help="memory of the runtime's process, such as 8G"),
        click.option("--timeout", type=float, default=1800, show_default=True, help="seconds the runtime may take"),
    ):
        command = option(command)
    return command


def memory(text: str | None) -> int | None:
    if text is None:
        return None
    units = {"k": 2**10, "m": 2**20, "g": 2**30}
    number, unit = (text[:-1], text[-1].lower()) if text[-1:].isalpha() else (text, "")
    try:
        return int(float(number) * units.get(unit, 1)) if not unit or unit in units else _bad_size(text)
    except ValueError:
        return _bad_size(text)


def _bad_size(text: str) -> int:
    raise UsageError("bad-option", f"'{text}' is no size", where="--memory-limit", hint="write 8G or 512M")


def for_target(texts: Iterable[str], target: str) -> dict[str, Any]:
    """`--option onnxruntime.threads=2` or, for the one target, `--option threads=2`."""
    found: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise UsageError("bad-option", f"cannot read --option '{text}'", hint=f"--option {target}.NAME=VALUE")
        owner, dot, rest = name.partition(".")
        if dot and owner == target:
            name = rest
        elif dot:
            from backends.registry import names

            if owner in names():
                continue  # meant for another target
            raise UsageError("bad-option", f"there is no target '{owner}'", hint=did_you_mean(owner, names()))
        found[name] = value
    return found


def configured(command: str, given: Mapping[str, Any], sources: Mapping[str, Any]) -> dict[str, Any]:
    """Options that the user did not type get their value from the project's own file, where it has one.

    `sources` says for each option whether it was typed. The file is plumbline.toml, or [tool.plumbline] of
    pyproject.toml, in this folder or the nearest one above.
    """
    defaults = _project_defaults()
    known = {name.replace("_", "-"): name for name in given}
    merged = dict(given)
    for key, value in defaults.items():
        if key not in known:
            raise UsageError(
                "bad-config",
                f"there is no option '{key}'",
                where=str(_config_file()),
                hint=did_you_mean(key, known) or f"one of {', '.join(known)}",
            )
        if sources[known[key]] == "default":
            merged[known[key]] = tuple(value) if isinstance(value, list) else value
    return merged


def _config_file() -> Path | None:
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "plumbline.toml").is_file():
            return folder / "plumbline.toml"
        if (folder / "pyproject.toml").is_file():
            return folder / "pyproject.toml"
    return None


def _project_defaults() -> Mapping[str, Any]:
    import tomllib

    file = _config_file()
    if file is None or not os.access(file, os.R_OK):
        return {}
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError("bad-config", f"'{file}' cannot be read", why=str(error)) from error
    found = data if file.name == "plumbline.toml" else data.get("tool", {}).get("plumbline", {})
    return dict(found)
