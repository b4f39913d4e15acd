"""How a user's own torch operators become ONNX: a table from the operator to a function of onnxscript."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from compiler.errors import UsageError
from compiler.frontend.loaders.factory import load_named

Translations = dict[Callable[..., Any], Any]

_HINT = "write TABLE = {torch.ops.mylib.myop.default: my_function}; docs/custom-operators.md shows a whole one"


def translations(given: str | Mapping[Any, Any]) -> Translations:
    """The table itself, or "file.py:TABLE", whose file is imported for it."""
    where = given if isinstance(given, str) else None
    table = load_named(given) if isinstance(given, str) else given
    if not isinstance(table, Mapping) or not table:
        raise _bad(f"it is a {type(table).__name__}" if table else "it is empty", where)
    return {_operator(key, where): _functions(value, where) for key, value in table.items()}


def _operator(key: Any, where: str | None) -> Callable[..., Any]:
    if isinstance(key, torch._ops.OpOverloadPacket):
        if len(key.overloads()) == 1:
            overload: Callable[..., Any] = getattr(key, key.overloads()[0])
            return overload
        raise _bad(f"{key} has the overloads {', '.join(key.overloads())}: name one of them", where)
    if not isinstance(key, torch._ops.OpOverload):
        raise _bad(f"the key {key!r} is no operator of torch", where)
    return key


def _functions(value: Any, where: str | None) -> Any:
    for function in value if isinstance(value, (list, tuple)) else (value,):
        if not callable(function):
            raise _bad(f"{function!r} is no function", where)
    return list(value) if isinstance(value, tuple) else value


def _bad(why: str, where: str | None) -> UsageError:
    return UsageError("bad-translations", "this is no table of translations", where=where, why=why, hint=_HINT)
