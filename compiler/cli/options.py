"""Options that several commands share, and what they may say."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from compiler.errors import CompileError, UsageError, did_you_mean

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


def duration(text: str, where: str) -> float:
    """Seconds: 90, 90s, 2m or 5ms."""
    found = re.fullmatch(r"([0-9.]+)\s*(ms|s|m|h|)", text.strip().lower())
    try:
        seconds = float(found[1]) * {"ms": 1e-3, "m": 60.0, "h": 3600.0}.get(found[2], 1.0) if found else 0.0
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise UsageError("bad-option", f"'{text}' is no time", where=where, hint="write 60s, 5m or 20ms")
    return seconds


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


def configured(context: click.Context, given: Mapping[str, Any], *, others: Iterable[str] = ()) -> dict[str, Any]:
    """Options that the user did not type get their value from the project's own file, where it has one.

    The file is plumbline.toml, or [tool.plumbline] of pyproject.toml, in this folder or the nearest one above. Its
    keys are the options as they are typed, without the dashes. `others` are names of options that this command does not
    have, and that may stand there all the same.
    """
    known = {max(option.opts, key=len).removeprefix("--"): option for option in _options_of(context.command)}
    merged = dict(given)
    for key, value in _project_defaults().items():
        option = known.get(key)
        if option is None and key.replace("-", "_") in others:
            continue
        if option is None or option.name is None:
            hint = did_you_mean(key, known) or f"one of {', '.join(known)}"
            raise UsageError("bad-config", f"there is no option '{key}'", where=str(_config_file()), hint=hint)
        if context.get_parameter_source(option.name) is ParameterSource.DEFAULT:
            merged[option.name] = _checked(context, option, key, value)
    return merged


def _options_of(command: click.Command) -> list[click.Option]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


def _checked(context: click.Context, option: click.Option, key: str, value: Any) -> Any:
    """The value as click would have it from the command line."""
    if option.multiple and not isinstance(value, list):
        value = [value]
    try:
        return option.type_cast_value(context, value)
    except click.BadParameter as error:
        raise UsageError(
            "bad-config", f"'{key}' cannot be {value!r}", where=str(_config_file()), why=error.message
        ) from error


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


def write_text(place: str, text: str) -> None:
    """Into a file that the user named."""
    try:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(place).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CompileError("cannot-write", f"cannot write '{place}'", why=error.strerror) from error
