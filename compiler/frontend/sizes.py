"""At which sizes of the dynamic dims a model is traced and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count

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
    """A legal size away from both ends, of another parity or factor than they have, and not yet taken."""
    first, last = dim.lo // dim.step, dim.hi // dim.step
    # Nearer to the low end: a case costs in proportion to its size and proves as much.
    start = max(first + max((last - first) // 3, 1), 2)
    around = (start + offset for distance in count() for offset in ((distance, -distance) if distance else (0,)))
    fallback: int | None = None
    for multiple in around:
        if abs(multiple - start) > last - first + 2:
            break
        size = multiple * dim.step
        if size not in dim or size < 2 or size in taken:
            continue
        if fallback is None:
            fallback = size
        if multiple % 2 == 1 and multiple not in (first, last):
            return size
    return fallback if fallback is not None else dim.hi


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
