"""A small PyTorch module as the text that defines it, so that what fails can be shortened, printed and handed on."""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

import numpy as np
import torch

from compiler.contracts import Array

# The sizes that each dynamic dim is tried with while a model is made. No fixed size has such a row of values.
POINTS = 3
Dim = tuple[int, ...]

PRELUDE = """\
import torch
import torch.nn.functional as F


def weight(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def integers(seed, end, *shape):
    return torch.randint(0, end, shape, generator=torch.Generator().manual_seed(seed))


def seeded(seed, layer, *args, **kwargs):
    torch.manual_seed(seed)
    return layer(*args, **kwargs)
"""


class Noise(IntEnum):
    """How far a value may differ from runtime to runtime. Where it may, nothing discontinuous is made of it."""

    DRAWN = 0  # an input as it was drawn: no two numbers are alike
    EXACT = 1
    ROUNDED = 2


@dataclass(frozen=True)
class Value:
    name: str
    dtype: str
    dims: tuple[Dim, ...]
    noise: Noise

    @property
    def rank(self) -> int:
        return len(self.dims)


def fixed(size: int) -> Dim:
    return (size,) * POINTS


def is_fixed(dim: Dim) -> bool:
    return len(set(dim)) == 1


@dataclass(frozen=True)
class Line:
    results: tuple[Value, ...]
    expression: str
    entry: str  # of the grammar

    @property
    def uses(self) -> set[str]:
        return set(re.findall(r"\b[xv]\d+\b", self.expression))

    def __str__(self) -> str:
        return f"{', '.join(value.name for value in self.results)} = {self.expression}"


@dataclass(frozen=True)
class Model:
    seed: int
    named: Mapping[str, Dim]  # the dynamic dims
    inputs: tuple[Value, ...]
    weights: Mapping[str, str]
    lines: tuple[Line, ...]
    outputs: tuple[str, ...]

    @property
    def values(self) -> dict[str, Value]:
        return {value.name: value for value in (*self.inputs, *(v for line in self.lines for v in line.results))}

    def live(self) -> Model:
        """Without what no output needs. At least one input stays."""
        wanted, lines = set(self.outputs), []
        for line in reversed(self.lines):
            if wanted & {value.name for value in line.results}:
                wanted |= line.uses
                lines.append(line)
        text = "\n".join(line.expression for line in lines)
        return replace(
            self,
            inputs=tuple(value for value in self.inputs if value.name in wanted) or self.inputs[:1],
            weights={name: made for name, made in self.weights.items() if re.search(rf"self\.{name}\b", text)},
            lines=tuple(reversed(lines)),
        )

    def specs(self) -> list[str]:
        """What `--input` would say."""
        seen: set[str] = set()
        return [f"{value.name}:{value.dtype}[{','.join(self._extents(value, seen))}]" for value in self.inputs]

    def _extents(self, value: Value, seen: set[str]) -> Iterable[str]:
        for dim in value.dims:
            name = self.name_of(dim)
            if name is None:
                yield str(dim[0])
            elif name in seen:
                yield name
            else:
                seen.add(name)
                yield f"{name}={dim[0]}..{dim[-1]}"

    def name_of(self, dim: Dim) -> str | None:
        return next((name for name, sizes in self.named.items() if sizes == dim), None)

    def source(self) -> str:
        made = [f"        self.{name} = {text}" for name, text in self.weights.items()]
        names = ", ".join(value.name for value in self.inputs)
        return "\n".join(
            [
                PRELUDE,
                "",
                "class Model(torch.nn.Module):",
                "    def __init__(self):",
                "        super().__init__()",
                *made,
                "",
                f"    def forward(self, {names}):",
                *(f"        {line}" for line in self.lines),
                f"        return {', '.join(self.outputs)}",
                "",
            ]
        )

    def module(self) -> torch.nn.Module:
        """The module that the text defines. Python finds its lines, as it would find those of a file."""
        text, file = self.source(), f"<seed {self.seed}>"
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        namespace: dict[str, Any] = {"__name__": "fuzzed"}
        exec(compile(text, file, "exec"), namespace)
        module: torch.nn.Module = namespace["Model"]().eval()
        return module


def drawn(value: Value, point: int, rng: np.random.Generator) -> Array:
    """Ordinary data for an input, as the reference draws it: integers without a known range are 0 and 1."""
    shape = tuple(dim[point] for dim in value.dims)
    if value.dtype == "float32":
        return rng.standard_normal(shape, dtype=np.float32)
    return rng.integers(0, 2, shape).astype(value.dtype)
