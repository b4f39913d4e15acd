"""Operators that decide: a little more or less in what they are given, and they give something else altogether.

Each is looked at in rows, one for a decision: of a choice (topk, argmax, sort, ...) the indices that were chosen from a
row of scores, of a rounding or a comparison the single value that came out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from compiler.unit import Unit

Values = Mapping[str, Any]  # an operator's arguments by name

MOST = 64  # of one operator
_STEP = 0.25  # a rounding whose argument is known less well than that has no boundaries


@dataclass(frozen=True)
class Near:
    """A row that may be decided otherwise as well."""

    row: int
    other: tuple[float, ...]
    share: float  # of the budget that separates it from the boundary
    exact: bool  # it lies on the boundary, where it was probably put


class Deciding(Protocol):
    def on(self, given: Values) -> tuple[torch.Tensor, torch.Tensor] | None:
        """What it is decided by, and the size of the numbers that this was made of; None where nothing is rounded."""
        ...

    def rows(self, given: Values, result: Any) -> torch.Tensor: ...

    def rebuilt(self, given: Values, result: Any, rows: torch.Tensor) -> Any:
        """The result where these are the decisions."""
        ...

    def near(self, given: Values, unit: Unit, own: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """For each row whether rounding may explain that PyTorch decides like `own`, and float64 like `rows`."""
        ...

    def others(self, given: Values, unit: Unit, rows: torch.Tensor) -> tuple[list[Near], int]:
        """What might be decided as well as `rows`: the nearest, and how many there are in all."""
        ...


# -- boundaries --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Boundary:
    """Element by element: `side` gives how far from the boundary the argument is, `beyond` what stands on its other
    side."""

    argument: Callable[[Values], torch.Tensor]
    side: Callable[[torch.Tensor], torch.Tensor]
    beyond: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    operands: tuple[str, ...] = ("self",)
    rounds: bool = True
    copies: bool = False  # what is equal in float64 was copied from one place, and is equal everywhere

    def on(self, given: Values) -> tuple[torch.Tensor, torch.Tensor] | None:
        parts = [given[name] for name in self.operands]
        floats = [part for part in parts if isinstance(part, torch.Tensor) and part.is_floating_point()]
        if not floats:
            return None
        size = floats[0].double().abs()
        for part in floats[1:]:
            size = torch.maximum(size, part.double().abs())
        argument = self.argument(given)
        return argument, size.expand(argument.shape)

    def rows(self, given: Values, result: Any) -> torch.Tensor:
        rows: torch.Tensor = result.reshape(-1, 1)
        return rows

    def rebuilt(self, given: Values, result: Any, rows: torch.Tensor) -> Any:
        return rows.reshape(result.shape).to(result.dtype)

    def near(self, given: Values, unit: Unit, own: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return self._share(given, unit)[0] <= 1

    def others(self, given: Values, unit: Unit, rows: torch.Tensor) -> tuple[list[Near], int]:
        share, side, argument = self._share(given, unit)
        if self.copies:
            share = torch.where(side > 0, share, torch.inf)
        nearest, count = _nearest(share, side == 0)
        if not count:
            return [], 0
        others = self.beyond(argument, rows.reshape(-1).double())
        return [Near(row, (float(others[row]),), float(share[row]), not side[row]) for row in nearest], count

    def _share(self, given: Values, unit: Unit) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        found = self.on(given)
        assert found is not None
        argument, size = (part.reshape(-1) for part in found)
        side, allowed = self.side(argument).abs(), torch.from_numpy(unit.allowed(size.numpy()))
        share = torch.where(side > 0, side / allowed, torch.zeros(()).double())
        sharp = allowed < _STEP if self.rounds else torch.ones_like(allowed, dtype=torch.bool)
        known = argument.isfinite() & sharp & (allowed > 0)
        return torch.where(known, share, torch.inf), side, argument


def _operand(value: Any) -> Any:
    return value.double() if isinstance(value, torch.Tensor) else value


def _self(given: Values) -> torch.Tensor:
    argument: torch.Tensor = given["self"].double()
    return argument


def _difference(given: Values) -> torch.Tensor:
    difference: torch.Tensor = _operand(given["self"]) - _operand(given["other"])
    return difference


def _quotient(given: Values) -> torch.Tensor:
    quotient: torch.Tensor = _operand(given["self"]) / _operand(given["other"])
    return quotient


def _to_whole(x: torch.Tensor) -> torch.Tensor:
    return x - x.round()


def _to_half(x: torch.Tensor) -> torch.Tensor:
    return x - x.floor() - 0.5


def _towards_zero(x: torch.Tensor) -> torch.Tensor:
    """Between -1 and 1 there is no boundary."""
    return torch.where(x.round() == 0, torch.inf, _to_whole(x))


def _rounded(x: torch.Tensor, have: torch.Tensor) -> torch.Tensor:
    return torch.where(have > x, have - 1, have + 1)


def _floored(x: torch.Tensor, have: torch.Tensor) -> torch.Tensor:
    return torch.where(have == x.round(), have - 1, have + 1)


def _ceiled(x: torch.Tensor, have: torch.Tensor) -> torch.Tensor:
    return torch.where(have == x.round(), have + 1, have - 1)


def _cut(x: torch.Tensor, have: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, _floored(x, have), _ceiled(x, have))


def _not(x: torch.Tensor, have: torch.Tensor) -> torch.Tensor:
    return 1 - have


def _opposite(x: torch.Tensor, have: torch.Tensor) -> torch.Tensor:
    return torch.where(have == 0, torch.ones_like(have), -have)


def _same(x: torch.Tensor) -> torch.Tensor:
    return x


_ROUND = Boundary(_self, _to_half, _rounded)
_FLOOR = Boundary(_self, _to_whole, _floored)
_CEIL = Boundary(_self, _to_whole, _ceiled)
_TRUNC = Boundary(_self, _towards_zero, _cut)
_SIGN = Boundary(_self, _same, _opposite, rounds=False)
_COMPARE = Boundary(_difference, _same, _not, ("self", "other"), rounds=False)
_EQUAL = Boundary(_difference, _same, _not, ("self", "other"), rounds=False, copies=True)
_FLOOR_QUOTIENT = Boundary(_quotient, _to_whole, _floored, ("self", "other"))
_TRUNC_QUOTIENT = Boundary(_quotient, _towards_zero, _cut, ("self", "other"))


# -- choices -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """Of each row of scores the indices of some, by value. `place` says which of the results they are."""

    place: int | None
    dim: int | None
    largest: bool = False

    def on(self, given: Values) -> tuple[torch.Tensor, torch.Tensor] | None:
        scores = given["self"]
        if not scores.is_floating_point() or scores.ndim == 0 or not scores.numel():
            return None
        rows = self._scores(given).double()
        return rows, rows.abs()

    def rows(self, given: Values, result: Any) -> torch.Tensor:
        indices = result if self.place is None else result[self.place]
        dim = given.get("dim", self.dim)
        if dim is None:
            return torch.as_tensor(indices.reshape(1, 1))
        if indices.ndim < given["self"].ndim:
            indices = indices.unsqueeze(dim)
        moved = indices.movedim(dim, -1)
        return torch.as_tensor(moved.reshape(-1, moved.shape[-1]))

    def rebuilt(self, given: Values, result: Any, rows: torch.Tensor) -> Any:
        old = result if self.place is None else result[self.place]
        dim = given.get("dim", self.dim)
        if dim is None:
            return rows.reshape(old.shape)
        scores = given["self"]
        shape = [size for axis, size in enumerate(scores.shape) if axis != dim % scores.ndim]
        indices = rows.reshape(*shape, rows.shape[-1]).movedim(-1, dim)
        chosen = (indices, scores.gather(dim, indices))
        indices, values = (part if old.ndim == scores.ndim else part.squeeze(dim) for part in chosen)
        return indices if self.place is None else (values, indices)

    def near(self, given: Values, unit: Unit, own: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        scores = self._scores(given).double()
        have, want = scores.gather(1, own), scores.gather(1, rows)
        allowed = torch.from_numpy(unit.allowed(want.numpy()))
        return (((have - want).abs() <= allowed) | (have == want)).all(dim=1)

    def others(self, given: Values, unit: Unit, rows: torch.Tensor) -> tuple[list[Near], int]:
        """Two that follow each other in order of their scores change places, or the second one takes the place."""
        scores = self._scores(given).double()
        deepest = int(given["k"]) if self.place is not None and "k" in given else rows.shape[1]
        largest = bool(given.get("largest", given.get("descending", self.largest)))
        ranked, index = scores.topk(min(deepest + 1, scores.shape[1]), dim=1, largest=largest)
        gap = (ranked[:, :-1] - ranked[:, 1:]).abs()
        allowed = torch.from_numpy(unit.allowed(ranked[:, :-1].contiguous().numpy()))
        share = torch.where(gap > 0, gap / allowed, gap)
        nearest, count = _nearest(share.reshape(-1), gap.reshape(-1) == 0)
        found = []
        for at in nearest:
            row, rank = divmod(at, gap.shape[1])
            first, second = int(index[row, rank]), int(index[row, rank + 1])
            have = rows[row].tolist()
            other = [second if one == first else first if one == second else one for one in have]
            if other != have:
                found.append(Near(row, tuple(map(float, other)), float(share[row, rank]), not gap[row, rank]))
        return found, count

    def _scores(self, given: Values) -> torch.Tensor:
        scores: torch.Tensor = given["self"]
        dim = given.get("dim", self.dim)
        if dim is None:
            return scores.reshape(1, -1)
        return scores.movedim(dim, -1).reshape(-1, scores.shape[dim])


def _nearest(share: torch.Tensor, exact: torch.Tensor) -> tuple[list[int], int]:
    """Where it is within the budget: the smallest first, what lies on the boundary itself last; and how many in all."""
    near = torch.nonzero(share <= 1).reshape(-1)
    order = torch.argsort(share[near] + 2 * exact[near], stable=True)[:MOST]
    return near[order].tolist(), len(near)


# -- which is which ----------------------------------------------------------------------------------------------

_ALWAYS: Mapping[str, Deciding] = {
    "round": _ROUND, "floor": _FLOOR, "ceil": _CEIL, "trunc": _TRUNC, "sign": _SIGN, "floor_divide": _FLOOR_QUOTIENT,
    "gt": _COMPARE, "ge": _COMPARE, "lt": _COMPARE, "le": _COMPARE, "eq": _EQUAL, "ne": _EQUAL,
    "argmax": Choice(None, None, largest=True), "argmin": Choice(None, None),
    "topk": Choice(1, -1, largest=True), "sort": Choice(1, -1), "kthvalue": Choice(1, -1),
}  # fmt: skip
# Kinds of casts, as an exported program and as PyTorch itself have them; only those to whole numbers decide.
_CASTS = frozenset({"to", "_to_copy", "type", "type_as"})
# What is made of deciding operators where PyTorch runs it.
_MADE_OF = frozenset({"argsort", "msort", "isclose", "fake_quantize_per_tensor_affine"})
_WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def deciding(name: str, overload: str, given: Values) -> Deciding | None:
    """How an operator of aten decides, if it does."""
    if name == "round" and overload == "decimals":
        return None
    if name in ("max", "min"):
        return Choice(1, -1, largest=name == "max") if overload == "dim" else None
    if name == "_to_copy":
        return _TRUNC if given.get("dtype") in _WHOLE else None
    if name == "div" and overload.endswith("_mode"):
        return {"floor": _FLOOR_QUOTIENT, "trunc": _TRUNC_QUOTIENT}.get(given.get("rounding_mode") or "")
    return _ALWAYS.get(name)


def may_decide(name: str, overload: str) -> bool:
    """Whether an operator of an exported program may, without a look at its arguments."""
    if name in ("max", "min", "div"):
        return overload == "dim" or overload.endswith("_mode")
    return name in _ALWAYS or name in _CASTS or name in _MADE_OF
