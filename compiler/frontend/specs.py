"""The grammar of `--input`.

    name:dtype[dims]      x:float32[batch=1..32,3,224,224]
    name=VALUE            scale=0.5      (a Python scalar, fixed in the compiled model)

A dim is a number, a named range `batch=1..32`, a range in steps `h=32*2..16` (64, 96, ... 512), or the bare name
of a dim that another input declared. Nested arguments are written with dots: `cache.0`, `state.hidden`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from compiler.contracts import DTYPES, Dim, Extent, TensorSpec
from compiler.errors import UsageError, did_you_mean

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_INPUT = re.compile(rf"^(?P<name>{_NAME}(?:\.[A-Za-z0-9_]+)*):(?P<dtype>\w+)(?:\[(?P<dims>[^\[\]]*)\])?$")
_CONSTANT = re.compile(rf"^(?P<name>{_NAME}(?:\.[A-Za-z0-9_]+)*)=(?P<value>[^\[\]:]+)$")
_DIM = re.compile(rf"^(?P<name>{_NAME})(?:=(?:(?P<step>\d+)\*)?(?P<lo>\d+)(?:\.\.(?P<hi>\d+))?)?$")

EXAMPLE = "x:float32[batch=1..32,3,224,224]"


@dataclass(frozen=True)
class InputSpecs:
    """All `--input` options together."""

    tensors: tuple[TensorSpec, ...]
    constants: Mapping[str, Any]


def parse(texts: Iterable[str]) -> InputSpecs:
    """Parse every `--input`; dims with one name are one dim, wherever its range stands."""
    texts = list(texts)
    named = _named_dims(texts)
    tensors: dict[str, TensorSpec] = {}
    constants: dict[str, Any] = {}
    for text in texts:
        constant = _CONSTANT.match(text.strip())
        name = constant["name"] if constant else _split(text)["name"]
        if name in tensors or name in constants:
            raise UsageError("bad-input-spec", f"input '{name}' is given twice", hint="give each --input once")
        if constant:
            constants[name] = _literal(text, constant["value"])
        else:
            tensors[name] = _tensor(text, named)
    return InputSpecs(tuple(tensors.values()), constants)


def _split(text: str) -> re.Match[str]:
    match = _INPUT.match(text.strip())
    if match is None:
        raise UsageError(
            "bad-input-spec", f"cannot read the input spec '{text}'", hint=f"write it like --input '{EXAMPLE}'"
        )
    return match


def _dims_of(text: str) -> list[str]:
    dims = _split(text)["dims"]
    return [dim.strip() for dim in dims.split(",")] if dims and dims.strip() else []


def _named_dims(texts: list[str]) -> dict[str, Dim | int]:
    named: dict[str, Dim | int] = {}
    for text in texts:
        if _CONSTANT.match(text.strip()):
            continue
        for part in _dims_of(text):
            match = _DIM.match(part)
            if match is None or match["lo"] is None:
                continue
            dim = _range(text, match)
            name = match["name"]
            if name in named and named[name] != dim:
                raise UsageError(
                    "bad-input-spec",
                    f"dim '{name}' has two ranges: {named[name]} and {dim}",
                    where=f"--input '{text}'",
                    hint=f"give the range once and write just '{name}' elsewhere",
                )
            named[name] = dim
    return named


def _range(text: str, match: re.Match[str]) -> Dim | int:
    step = int(match["step"] or 1)
    lo = int(match["lo"])
    if match["hi"] is None:
        return lo * step  # `batch=4`: a name for a fixed size
    hi = int(match["hi"])
    if hi < lo:
        raise UsageError(
            "bad-input-spec",
            f"the range of '{match['name']}' ends below its start: {lo}..{hi}",
            where=f"--input '{text}'",
            hint=f"did you mean {match['name']}={hi}..{lo}?",
        )
    if step == 0:
        raise UsageError("bad-input-spec", f"the step of '{match['name']}' is 0", where=f"--input '{text}'")
    if hi == lo:
        return lo * step
    return Dim(match["name"], lo * step, hi * step, step)


def _tensor(text: str, named: Mapping[str, Dim | int]) -> TensorSpec:
    match = _split(text)
    dtype = match["dtype"]
    if dtype not in DTYPES:
        raise UsageError(
            "bad-input-spec",
            f"'{dtype}' is no element type",
            where=f"--input '{text}'",
            hint=did_you_mean(dtype, DTYPES) or f"one of {', '.join(DTYPES)}",
        )
    return TensorSpec(match["name"], dtype, tuple(_dim(text, part, named) for part in _dims_of(text)))


def _dim(text: str, part: str, named: Mapping[str, Dim | int]) -> Extent:
    if part.isdigit():
        return int(part)
    match = _DIM.match(part)
    if match is None:
        raise UsageError(
            "bad-input-spec",
            f"cannot read the dim '{part}'",
            where=f"--input '{text}'",
            hint="a dim is a number, batch=1..32, h=32*2..16, or the name of a dim given elsewhere",
        )
    if match["name"] not in named:
        raise UsageError(
            "bad-input-spec",
            f"dim '{match['name']}' has no range",
            where=f"--input '{text}'",
            hint=did_you_mean(match["name"], named) or f"write {match['name']}=1..8, say",
        )
    return named[match["name"]]


def _literal(text: str, value: str) -> Any:
    try:
        literal = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        literal = value  # a bare word is a string: mode=nearest
    if literal is not None and not isinstance(literal, (bool, int, float, str)):
        raise UsageError(
            "bad-input-spec",
            f"'{value}' is no Python scalar",
            where=f"--input '{text}'",
            hint=f"a tensor is written like '{EXAMPLE}'",
        )
    return literal
