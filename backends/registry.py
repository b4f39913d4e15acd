"""The one table of targets."""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING, cast

from compiler.contracts import Backend, Probe, Unavailable
from compiler.errors import InternalError, UnavailableError, UsageError, did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "plumbline.backends"

# In the order in which they are listed and tried. Nothing is imported before a target is used.
TARGETS: dict[str, str] = {
    "onnxruntime": "backends.onnxruntime.backend:OnnxRuntime",
    "openvino": "backends.openvino.backend:OpenVino",
    "tensorrt": "backends.tensorrt.backend:TensorRt",
    "tvm": "backends.tvm.backend:Tvm",
    "onnx": "backends.onnx.backend:Onnx",
}


@cache
def _table() -> dict[str, str]:
    # Late: a host that loads one of our own targets needs to know of no others.
    from importlib.metadata import entry_points

    table = dict(TARGETS)
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        _add(table, entry)
    return table


def _add(table: dict[str, str], entry: EntryPoint) -> None:
    if entry.name in table:
        raise UsageError(
            "duplicate-target",
            f"two backends are called '{entry.name}'",
            why=f"{table[entry.name]} and {entry.value}",
            hint="uninstall one of the packages that provide them",
        )
    table[entry.name] = entry.value


def names() -> tuple[str, ...]:
    return tuple(_table())


def get(name: str) -> Backend:
    table = TARGETS if name in TARGETS else _table()
    if name not in table:
        raise UsageError(
            "unknown-target",
            f"there is no target '{name}'",
            hint=did_you_mean(name, table) or f"one of {', '.join(table)}",
        )
    module, _, attribute = table[name].partition(":")
    try:
        make = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UnavailableError(
            "broken-target",
            f"the target '{name}' cannot be imported",
            where=table[name],
            why=str(error),
            hint="repair or uninstall the package that provides it",
        ) from error
    backend = cast(Backend, make())
    if backend.name != name:
        raise InternalError("registry", f"the backend of '{name}' calls itself '{backend.name}'")
    return backend


def probe(name: str) -> Probe:
    """Whether a target can be used here; one that cannot even be imported cannot."""
    try:
        return get(name).probe()
    except UnavailableError as error:
        return Unavailable(error.why or error.message, error.hint or "")
