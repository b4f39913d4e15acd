"""Which precisions are worth trying on a target, and a mix of two: some layers put back to where they lose less."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from compiler.contracts import Ready, Route, Unavailable
from compiler.errors import UnavailableError, UsageError, did_you_mean
from compiler.precision.apply import WEIGHTS_ONLY
from compiler.precision.int8 import METHODS
from compiler.precision.recipe import Name, Recipe

# Where 16 bits save memory and no time: these compute float16 in float32, with roundings.
_SMALL_ONLY: Mapping[str, tuple[Name, ...]] = dict.fromkeys(("onnxruntime", "openvino", "tvm"), ("float16",))
_COMPUTING = ("latency", "throughput")


@dataclass(frozen=True)
class Base:
    """Where a search begins: everything as low as it gets, and what a layer becomes that is put back."""

    name: str
    recipe: Recipe  # with what the target needs
    high: Name = "float32"

    @property
    def weights_only(self) -> bool:
        return self.recipe.precision == "int4" or self.recipe.method in WEIGHTS_ONLY

    def mixed(self, layers: Sequence[str]) -> Recipe:
        """With these layers put back."""
        names = tuple(map(glob.escape, layers))
        if self.weights_only and self.high == "float32":
            return replace(self.recipe, keep=(*self.recipe.keep, *names))
        return replace(self.recipe, own=(*((name, self.high) for name in names), *self.recipe.own))


def bases(asked: Recipe, target: str, state: Ready, goal: str, *, data: bool) -> list[Base]:
    """The lowest first, as far as it is known what is fast, or small, on this target.

    `asked` tells what the user wants of each: a method, layers to keep, the size of a group.
    """
    found = [*(_computing if goal in _COMPUTING else _small)(asked, target, data=data)]
    routes = [(base, _route(base.recipe, state)) for base in found]
    able = [
        replace(base, recipe=replace(base.recipe, signed=route.signed, wide=route.wide))
        for base, route in routes
        if isinstance(route, Route)
    ]
    if not able:
        why = "; ".join(
            dict.fromkeys(f"{base.name}: {route.reason}" for base, route in routes if isinstance(route, Unavailable))
        )
        raise UnavailableError(
            "precision-unavailable", f"{target} computes in nothing lower here", where="--precision auto", why=why
        )
    return able


def _route(recipe: Recipe, state: Ready) -> Route | Unavailable:
    found = Route()
    for precision in recipe.mixed:
        route = state.route(precision)
        if isinstance(route, Unavailable):
            return route
        found = found.joined(route)
    return found


def _computing(asked: Recipe, target: str, *, data: bool) -> Iterator[Base]:
    """int8 first; what it leaves in float32 and, where that is a way of its own, in bfloat16."""
    methods = [asked.method] if asked.method != "auto" else ["static", "rows"] if data else ["rows"]
    _known(asked.method)
    for method in methods:
        yield Base(f"int8 {method}", replace(asked, precision="int8", method=method))
    if asked.method == "auto":
        halves: list[Name] = [name for name in ("bfloat16", "float16") if name not in _SMALL_ONLY.get(target, ())]
        for method in methods if halves else ():
            half = halves[0]
            yield Base(f"int8 {method} + {half}", replace(asked, precision="int8", method=method, rest=half), half)
        for half in halves:
            yield Base(half, replace(asked, precision=half))


def _small(asked: Recipe, target: str, *, data: bool) -> Iterator[Base]:
    _known(asked.method)
    if asked.method == "auto" or asked.method in WEIGHTS_ONLY:
        fine = "weights" if asked.method == "auto" else asked.method
        coarse = "auto" if fine == "weights" else fine
        yield Base("int4 weights", replace(asked, precision="int4", method=coarse), "int8")
        yield Base("int8 weights", replace(asked, precision="int8", method=fine))
    if asked.method not in WEIGHTS_ONLY:
        yield Base("int8", replace(asked, precision="int8"))
    if asked.method == "auto":
        yield Base("bfloat16", replace(asked, precision="bfloat16"))
        yield Base("float16", replace(asked, precision="float16"))


def _known(method: str) -> None:
    known = list(dict.fromkeys((*METHODS, *WEIGHTS_ONLY)))
    if method not in known:
        hint = did_you_mean(method, known) or f"one of {', '.join(known)}"
        raise UsageError("bad-option", f"there is no method '{method}'", where="--method", hint=hint)
