"""What is varied: threads, and the sizes of the dims that a model leaves open."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from compiler.contracts import Dim
from compiler.errors import UsageError, did_you_mean

BATCH = "batch"


@dataclass(frozen=True)
class Setting:
    threads: int
    sizes: Mapping[str, int]

    def __str__(self) -> str:
        sizes = " ".join(f"{name}={size}" for name, size in self.sizes.items())
        words = f"{self.threads} thread{'s' * (self.threads != 1)}"
        return f"{sizes}, {words}" if sizes else words


def settings(
    dims: Mapping[str, Dim], usual: Mapping[str, int], asked: Sequence[str], batches: str | None, threads: str | None
) -> list[Setting]:
    """Every combination of what was asked for; the other dims are at their usual size."""
    wanted = {name: numbers(text, f"--size {name}") for name, text in map(_named, asked)}
    if batches is not None:
        wanted[_batch(dims)] = numbers(batches, "--batch")
    for name, sizes in wanted.items():
        if name not in dims:
            hint = did_you_mean(name, dims) or f"its dynamic dims: {', '.join(dims) or 'none'}"
            raise UsageError("unknown-dim", f"the model has no dynamic dim '{name}'", where="--size", hint=hint)
        if wrong := [size for size in sizes if size not in dims[name]]:
            raise UsageError("bad-option", f"{wrong[0]} is out of the range of {dims[name]}", where=f"--size {name}")
    counts = numbers(threads, "--threads") if threads is not None else [os.cpu_count() or 1]
    return [Setting(count, sizes) for count in counts for sizes in _every(dims, usual, wanted)]


def numbers(text: str, where: str) -> list[int]:
    """1,8 as [1, 8]."""
    try:
        found = [int(word) for word in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise UsageError("bad-option", f"'{text}' is no list of sizes", where=where, hint="write 1,8")
    return found


def core_numbers(text: str | None) -> tuple[int, ...]:
    """0,1 as (0, 1), all of them cores that may be used; nothing where nothing was asked."""
    if text is None:
        return ()
    where, hint = "--cores", "write 0,1"
    if not hasattr(os, "sched_setaffinity"):
        raise UsageError("bad-option", "this system does not hold a process to some cores", where=where)
    words = [word.strip() for word in text.split(",")]
    cores = tuple(dict.fromkeys(int(word) for word in words if word.isdigit()))
    if not all(word.isdigit() for word in words):
        raise UsageError("bad-option", f"'{text}' is no list of cores", where=where, hint=hint)
    here = sorted(os.sched_getaffinity(0))
    if missing := [core for core in cores if core not in here]:
        why = f"this process may use {', '.join(map(str, here))}"
        raise UsageError("bad-option", f"there is no core {missing[0]} to use", where=where, why=why)
    return cores


def _named(text: str) -> tuple[str, str]:
    name, sign, sizes = text.partition("=")
    if not name or not sign:
        raise UsageError("bad-option", f"cannot read --size '{text}'", hint="--size seq=64,128")
    return name.strip(), sizes


def _batch(dims: Iterable[str]) -> str:
    """The dim that is called so, or the only one there is."""
    names = list(dims)
    if BATCH in names or len(names) != 1:
        return BATCH
    return names[0]


def _every(
    dims: Mapping[str, Dim], usual: Mapping[str, int], wanted: Mapping[str, list[int]]
) -> Iterator[dict[str, int]]:
    for chosen in itertools.product(*(wanted.get(name, [usual[name]]) for name in dims)):
        yield dict(zip(dims, chosen, strict=True))
