"""Makes a random module line by line: an entry of the grammar is drawn, filled in, and tried at several sizes."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from model_source import POINTS, PRELUDE, Dim, Line, Model, Noise, Value, drawn, fixed, is_fixed

_LARGEST = {"float32": 1e4, "int64": 2.0**20, "bool": 1.0}
_MOST_ELEMENTS = 8192
_MOST_RANK = 6
_INPUTS = 4
_TRIES = 60
EVEN = 1000  # seeds below it take every entry as often, as they did when docs/judging.md told of them


class UnfitError(Exception):
    """An entry cannot be used here: there is no operand for it, or its result is no ordinary number."""


@dataclass(frozen=True)
class Entry:
    """One line of the grammar. What only moves numbers about keeps them exact.

    An entry whose operator comes with no other entry is drawn more often than one that others need as well.
    """

    name: str
    draw: Callable[[Maker], str]
    moves: bool = False
    weight: int = 1


Fits = Callable[[Value], bool]


def anything(_: Value) -> bool:
    return True


@dataclass
class Maker:
    """The module so far, and its values at every point."""

    seed: int
    random: random.Random = field(init=False)
    named: dict[str, Dim] = field(init=False)
    inputs: list[Value] = field(default_factory=list)
    weights: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    used: list[Value] = field(default_factory=list)  # by the line that is being drawn
    count: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.named = {"n": (self.random.choice((1, 2)), 4, 7), "m": (self.random.choice((1, 2, 3)), 5, 9)}
        self._rng = np.random.default_rng(self.seed)
        namespace: dict[str, Any] = {"__name__": "fuzzed"}
        exec(PRELUDE, namespace)
        self._layers = SimpleNamespace()
        self._spaces = [{**namespace, "self": self._layers} for _ in range(POINTS)]

    # -- choosing -----------------------------------------------------------------------------------------------

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def pick(self, options: Sequence[Any]) -> Any:
        return self.random.choice(options)

    @property
    def first(self) -> Value:
        """The first operand of this line."""
        return self.used[0]

    def operand(
        self, dtype: str, fits: Fits = anything, noise: Noise = Noise.ROUNDED, dims: Callable[[], Any] | None = None
    ) -> Value:
        """A value that fits, mostly one of the latest; a new input where there is none."""
        fitting = [v for v in self.values if v.dtype == dtype and v.noise <= noise and fits(v)]
        if fitting and not self.chance(0.1):
            value: Value = self.pick(fitting[-3:] if self.chance(0.7) else fitting)
        else:
            value = self.input(dtype, (dims or self.any_dims)())
            if not fits(value):
                raise UnfitError
        self.used.append(value)
        return value

    def partner(self, other: Value, noise: Noise = Noise.ROUNDED) -> str:
        """A second operand that is broadcast with the first: a value, or a constant along its last dims."""
        fitting = [v for v in self.values if v.dtype == other.dtype and v.noise <= noise and _broadcast(v, other)]
        if fitting and self.chance(0.7):
            self.used.append(value := self.pick(fitting))
            return str(value.name)
        kept = other.dims[self.random.randrange(other.rank + 1) :]
        return self.constant(other.dtype, [dim[0] if is_fixed(dim) else 1 for dim in kept])

    # -- making -------------------------------------------------------------------------------------------------

    def any_dims(self, low: int = 1, high: int = 4) -> tuple[Dim, ...]:
        """Some of them dynamic, each name once."""
        free = list(self.named.values())
        dims: list[Dim] = []
        for _ in range(self.random.randint(low, high)):
            if free and self.chance(0.45):
                dims.append(free.pop(self.random.randrange(len(free))))
            else:
                dims.append(fixed(self.pick((1, 2, 3, 4, 6, 8))))
        return tuple(dims)

    def input(self, dtype: str, dims: Sequence[Dim]) -> Value:
        if len(self.inputs) == _INPUTS or not all(is_fixed(dim) or dim in self.named.values() for dim in dims):
            raise UnfitError
        noise = Noise.DRAWN if dtype == "float32" else Noise.EXACT
        value = Value(f"x{len(self.inputs)}", dtype, tuple(dims), noise)
        self.inputs.append(value)
        self.values.append(value)
        for point, space in enumerate(self._spaces):
            space[value.name] = torch.from_numpy(np.array(drawn(value, point, self._rng)))
        return value

    def stored(self, text: str) -> str:
        """Something that __init__ makes."""
        name = self._name("w")
        self.weights[name] = text
        setattr(self._layers, name, eval(text, self._spaces[0]))
        layer = getattr(self._layers, name)
        if isinstance(layer, torch.nn.Module):
            layer.eval()
        return f"self.{name}"

    def constant(self, dtype: str, shape: Sequence[int]) -> str:
        sizes = ", ".join(map(str, (self._number(), *shape)))
        if dtype == "float32":
            return self.stored(f"weight({sizes})")
        seed, _, rest = sizes.partition(", ")
        end = 2 if dtype == "bool" else 5
        made = f"integers({seed}, {end}{', ' if rest else ''}{rest})"
        return self.stored(made + (".bool()" if dtype == "bool" else ""))

    def layer(self, text: str) -> str:
        """A module with weights of its own."""
        return self.stored(f"seeded({self._number()}, {text})")

    def _number(self) -> int:
        return self.random.randrange(10**6)

    def _name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    # -- one line -----------------------------------------------------------------------------------------------

    def add(self, entry: Entry) -> bool:
        """Draw it, try it, and keep it if it gives ordinary numbers at every point."""
        before = len(self.inputs), len(self.values), dict(self.weights)
        self.used = []
        try:
            expression = entry.draw(self)
            results = self._try(expression)
            values = self._described(results, entry)
        except UnfitError:
            inputs, kept, self.weights = before
            del self.inputs[inputs:], self.values[kept:]
            return False
        for place, value in enumerate(values):
            for space, tensors in zip(self._spaces, results, strict=True):
                space[value.name] = tensors[place]
        self.values += values
        self.lines.append(Line(tuple(values), expression, entry.name))
        return True

    def _try(self, expression: str) -> list[Sequence[torch.Tensor]]:
        results = []
        # torch.cond compiles itself where nobody forbids it.
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            for space in self._spaces:
                try:
                    result = eval(expression, space)
                except (RuntimeError, IndexError, ValueError) as error:  # a size that this operator cannot take
                    raise UnfitError(str(error)) from error
                results.append(result if isinstance(result, (tuple, list)) else (result,))
        return results

    def _described(self, results: Sequence[Sequence[torch.Tensor]], entry: Entry) -> list[Value]:
        if len({len(each) for each in results}) != 1 or len(results[0]) > 8:
            raise UnfitError
        worst = max((value.noise for value in self.used), default=Noise.EXACT)
        values = []
        for tensors in zip(*results, strict=True):
            dtype = _ordinary(tensors)
            exact = dtype != "float32"
            noise = Noise.EXACT if exact else max(worst, Noise.EXACT) if entry.moves else Noise.ROUNDED
            dims = tuple(zip(*(tensor.shape for tensor in tensors), strict=True))
            values.append(Value(self._name("v"), dtype, dims, noise))
        return values


def _ordinary(tensors: Sequence[torch.Tensor]) -> str:
    """The type of a result that is an ordinary one: not too large, no NaN, nowhere empty."""
    dtype = str(tensors[0].dtype).removeprefix("torch.")
    if dtype not in _LARGEST or len({tensor.ndim for tensor in tensors}) != 1 or tensors[0].ndim > _MOST_RANK:
        raise UnfitError
    for tensor in tensors:
        size = tensor.double().abs()
        if not 0 < tensor.numel() <= _MOST_ELEMENTS or not bool((size <= _LARGEST[dtype]).all()):
            raise UnfitError
    return dtype


def _broadcast(one: Value, other: Value) -> bool:
    """Whether `one` goes with `other`, axis by axis from the last."""
    pairs = zip(reversed(one.dims), reversed(other.dims), strict=False)
    return all(a == b or fixed(1) in (a, b) for a, b in pairs)


# -- the holes of a template --------------------------------------------------------------------------------------

_FLOAT, _INT, _BOOL = "float32", "int64", "bool"


def _axis(maker: Maker) -> str:
    rank = maker.first.rank
    return str(maker.random.randrange(-rank, rank))


def _axes(maker: Maker) -> str:
    rank = maker.first.rank
    return str(tuple(sorted(maker.random.sample(range(rank), maker.random.randint(1, rank)))))


def _mask(maker: Maker) -> str:
    first = maker.first
    return maker.operand(_BOOL, lambda value: _broadcast(value, first), dims=lambda: first.dims).name


def rows(value: Value) -> bool:
    return value.rank >= 2 and is_fixed(value.dims[-1]) and value.dims[-1][0] > 1


def of_rank(*ranks: int) -> Fits:
    return lambda value: value.rank in ranks and is_fixed(value.dims[1])


def image_dims(maker: Maker, axes: int) -> Callable[[], tuple[Dim, ...]]:
    """A batch, channels, and one axis after another along which one may slide."""
    large = {1: (8, 12), 2: (6, 8), 3: (4, 5)}[axes]
    return lambda: (
        maker.named["n"] if maker.chance(0.6) else fixed(2),
        fixed(maker.pick((2, 4, 6))),
        maker.named["m"] if maker.chance(0.5) else fixed(maker.pick(large)),
        *(fixed(maker.pick(large)) for _ in range(axes - 1)),
    )


def _image(axes: int) -> Callable[[Maker], str]:
    return lambda maker: maker.operand(_FLOAT, of_rank(axes + 2), dims=image_dims(maker, axes)).name


def _has_axes(value: Value) -> bool:
    return value.rank > 0


# What may stand in a template, up to an underscore: {x}, {axis}, {row_1}. Filled in from left to right.
HOLES: Mapping[str, Callable[[Maker], str]] = {
    "x": lambda maker: maker.operand(_FLOAT, _has_axes).name,
    "y": lambda maker: maker.partner(maker.first),
    "exact": lambda maker: maker.operand(_FLOAT, _has_axes, Noise.EXACT).name,
    "exactly": lambda maker: maker.partner(maker.first, Noise.EXACT),
    "drawn": lambda maker: maker.operand(_FLOAT, _has_axes, Noise.DRAWN).name,
    "i": lambda maker: maker.operand(_INT, _has_axes).name,
    "j": lambda maker: maker.partner(maker.first),
    "b": lambda maker: maker.operand(_BOOL, _has_axes).name,
    "c": lambda maker: maker.partner(maker.first),
    "mask": _mask,
    "axis": _axis,
    "axes": _axes,
    "keep": lambda maker: str(maker.chance(0.5)),
    "number": lambda maker: str(round(maker.random.uniform(-2, 2), 2)),
    "positive": lambda maker: str(round(maker.random.uniform(0.5, 2), 2)),
    "few": lambda maker: str(maker.random.randint(1, 3)),
    "shift": lambda maker: str(maker.random.randint(-2, 2)),
    "flag": lambda maker: str(maker.chance(0.5)),
    "matrix": lambda maker: (
        maker.operand(_FLOAT, lambda value: 2 <= value.rank <= 4, dims=lambda: maker.any_dims(2, 4)).name
    ),
    "rows": lambda maker: (
        maker.operand(_FLOAT, rows, dims=lambda: (*maker.any_dims(1, 3), fixed(maker.pick((4, 6, 8))))).name
    ),
    "size": lambda maker: str(maker.first.dims[-1][0]),
    "row": lambda maker: maker.constant(_FLOAT, [maker.first.dims[-1][0]]),
    "signal": _image(1),
    "image": _image(2),
    "volume": _image(3),
    "channels": lambda maker: str(maker.first.dims[1][0]),
    "channel": lambda maker: maker.constant(_FLOAT, [maker.first.dims[1][0]]),
}


def template(text: str, *, moves: bool, weight: int = 1) -> Entry:
    pieces = list(string.Formatter().parse(text))

    def draw(maker: Maker) -> str:
        filled: dict[str, str] = {}
        for _, hole, shape, _ in pieces:
            if hole and hole not in filled:
                filled[hole] = _weight(maker, shape) if shape else HOLES[hole.partition("_")[0]](maker)
        return "".join(literal + (filled[hole] if hole else "") for literal, hole, _, _ in pieces)

    return Entry(text, draw, moves, weight)


def _weight(maker: Maker, shape: str) -> str:
    """A constant: {w:size,5} has as many rows as the first operand has columns."""
    known = {"size": maker.first.dims[-1][0], "channels": maker.first.dims[min(1, maker.first.rank - 1)][0]}
    return maker.constant(_FLOAT, [known.get(size) or int(size) for size in shape.split(",")])


def templates(block: str, *, moves: bool = False, weight: int = 1) -> list[Entry]:
    return [template(line.strip(), moves=moves, weight=weight) for line in block.splitlines() if line.strip()]


def make(seed: int, grammar: Sequence[Entry]) -> Model:
    """The same seed makes the same model."""
    maker = Maker(seed)
    even = seed < EVEN
    wanted = maker.random.randint(3, 7) if even else maker.random.randint(4, 9)
    weights = [entry.weight for entry in grammar]
    for _ in range(_TRIES):
        maker.add(maker.pick(grammar) if even else maker.random.choices(grammar, weights)[0])
        if len(maker.lines) == wanted:
            break
    used = set().union(*(line.uses for line in maker.lines))
    results = [value.name for line in maker.lines for value in line.results]
    unused = [name for name in results if name not in used]
    return Model(seed, maker.named, tuple(maker.inputs), maker.weights, tuple(maker.lines), tuple(unused)).live()
