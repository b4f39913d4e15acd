"""At which sizes of the dynamic dims a model is traced and checked."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

from compiler.contracts import Dim, TensorSpec

Sizes = dict[str, int]


def trace_sizes(specs: Iterable[TensorSpec]) -> Sizes:
    """One size per dim to trace with.

    Tracers treat 0 and 1 as special and merge dims that happen to be equal, so every dim gets a size of at least
    2 that no other dim has, as long as its range allows.
    """
    specs = list(specs)
    fixed = {extent for spec in specs for extent in spec.dims if isinstance(extent, int)}
    return middle({dim.name: dim for spec in specs for dim in spec.dynamic}, fixed)


def middle(dims: Mapping[str, Dim], taken: Iterable[int] = ()) -> Sizes:
    """Every dim somewhere between its ends, all of them different."""
    used = set(taken)
    sizes: Sizes = {}
    for dim in dims.values():
        sizes[dim.name] = _odd_middle(dim, used)
        used.add(sizes[dim.name])
    return sizes


def _odd_middle(dim: Dim, taken: set[int]) -> int:
    """The best legal size: not 0 or 1 times the step, not taken, away from both ends, odd, and rather small.

    Small, because a case costs in proportion to its size and proves as much.
    """
    first, last = dim.lo // dim.step, dim.hi // dim.step
    wanted = first + max((last - first) // 3, 1)

    def badness(multiple: int) -> tuple[bool, bool, bool, bool, int]:
        at_end = multiple in (first, last)
        return multiple < 2, multiple * dim.step in taken, at_end, multiple % 2 == 0, abs(multiple - wanted)

    near = range(max(first, wanted - _REACH), min(last, wanted + _REACH) + 1)
    return min(near, key=badness) * dim.step


# How far from the middle a better size is looked for; more dims than this are never distinct in practice.
_REACH = 64


def other_middle(dims: Mapping[str, Dim]) -> Sizes:
    """Another size between the ends of every dim: odd, and nearer to the high end."""
    sizes: Sizes = {}
    for dim in dims.values():
        first, last = dim.lo // dim.step, dim.hi // dim.step
        near = range(first + max(2 * (last - first) // 3, 1), last + 1)
        multiple = next((number for number in near if number % 2), last)
        sizes[dim.name] = multiple * dim.step
    return sizes


def drawn(dims: Mapping[str, Dim], seed: int) -> Sizes:
    """Any size of every dim."""
    rng = random.Random(seed)
    return {name: rng.randrange(dim.lo, dim.hi + 1, dim.step) for name, dim in dims.items()}


def ends(dims: Mapping[str, Dim], end: str) -> Sizes:
    return {name: dim.lo if end == "lo" else dim.hi for name, dim in dims.items()}


def volume(sizes: Mapping[str, int]) -> int:
    """A stand-in for what a case costs: the product of its sizes."""
    product = 1
    for size in sizes.values():
        product *= max(size, 1)
    return product


def corners(dims: Mapping[str, Dim]) -> list[Sizes]:
    """Each dim at its high end with the others low: the cheapest cases that still show every high end."""
    low = ends(dims, "lo")
    return [{**low, name: dim.hi} for name, dim in dims.items()]


def label(sizes: Mapping[str, int]) -> str:
    return " ".join(f"{name}={size}" for name, size in sizes.items()) or "fixed shapes"
