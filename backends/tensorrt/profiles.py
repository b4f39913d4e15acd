"""The sizes that an engine is made for: the signature's ranges, and in them the sizes to tune for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from compiler.contracts import Dim, Signature
from compiler.errors import UsageError, did_you_mean

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """The smallest, the tuned-for and the largest shape of each input that has a named dim."""

    smallest: Mapping[str, Shape]
    tuned: Mapping[str, Shape]
    largest: Mapping[str, Shape]


def profile(signature: Signature, opt: Mapping[str, int]) -> Profile:
    """A dim has the same size in every input. Where nothing was asked for, the upper end is tuned for: there
    a call takes longest."""
    dims = signature.dims
    for name, size in opt.items():
        _check(name, size, dims)
    tuned = {name: opt.get(name, dim.hi) for name, dim in dims.items()}
    return Profile(
        _shapes(signature, {name: dim.lo for name, dim in dims.items()}),
        _shapes(signature, tuned),
        _shapes(signature, {name: dim.hi for name, dim in dims.items()}),
    )


def _shapes(signature: Signature, sizes: Mapping[str, int]) -> dict[str, Shape]:
    return {spec.name: spec.shape(sizes) for spec in signature.inputs if spec.dynamic}


def _check(name: str, size: int, dims: Mapping[str, Dim]) -> None:
    if name not in dims:
        hint = did_you_mean(name, dims) or (f"one of {', '.join(dims)}" if dims else "it has no named dims")
        raise UsageError("bad-option", f"opt names '{name}', which is no dim of the inputs", hint=hint)
    if size not in dims[name]:
        raise UsageError("bad-option", f"opt cannot be '{name}={size}'", hint=f"the dim is {dims[name]}")
