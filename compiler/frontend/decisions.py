"""What a program decides on its way: recorded while PyTorch computes its own answer, and kept to in float64.

Where two choices differ by no more than rounding, PyTorch and the oracle may take different ones, and what follows is
another number altogether. So the oracle follows PyTorch there: its distance from PyTorch stays a matter of rounding.
On its way it notes where the other choice is as good, for those who must judge an artifact that takes it.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from compiler.cases import Decision
from compiler.frontend.deciding import Deciding, Values, deciding, may_decide
from compiler.frontend.program import NO_PINS, Pins
from compiler.unit import Unit, epsilon_named, floor_of, unlucky

KEPT = 16  # near boundaries of one run; of those that lie on one, which exact zeros do by design, only what is left
_MOST_BYTES = 512 * 2**20  # of what decisions are made on, in one run; what comes later is judged as it falls


def decides(exported: ExportedProgram | None) -> bool:
    """Whether anything in it may; a script does not tell."""
    if exported is None:
        return True
    return any(
        _may_decide(node)
        for module in exported.graph_module.modules()
        if isinstance(module, GraphModule)
        for node in module.graph.nodes
        if isinstance(node.target, torch._ops.OpOverload)
    )


def _may_decide(node: torch.fx.Node) -> bool:
    assert isinstance(node.target, torch._ops.OpOverload)
    values = [other.meta.get("val") for other in node.all_input_nodes]
    floats = any(isinstance(value, torch.Tensor) and value.is_floating_point() for value in values)
    result = node.meta.get("val")
    if isinstance(result, torch.Tensor) and result.is_floating_point() and _name(node.target) in ("to", "_to_copy"):
        return False
    return floats and may_decide(_name(node.target), node.target._overloadname)


@dataclass(frozen=True)
class _Record:
    """PyTorch's own."""

    argument: torch.Tensor
    dtype: str
    rows: torch.Tensor


class Decisions:
    """Of one run of PyTorch's own, and of those in float64 that follow it."""

    def __init__(self, pins: Pins = NO_PINS) -> None:
        self._pins = pins
        self._records: dict[str, _Record] = {}

    def own(self) -> Own:
        return Own(self._pins, self._records)

    def wide(self) -> Wide:
        return Wide(self._records)


@dataclass(frozen=True)
class Call:
    """An operator that decides, under PyTorch's name for it."""

    name: str
    how: Deciding
    given: Values
    place: Callable[[], str]  # where in the user's model


def _call(func: Any, args: Any, kwargs: Any) -> Call | None:
    name = _name(func) if isinstance(func, torch._ops.OpOverload) else ""
    if not name:
        return None
    given = dict(zip((argument.name for argument in func._schema.arguments), args, strict=False)) | kwargs
    how = deciding(name, func._overloadname, given)
    return None if how is None else Call(name, how, given, _line)


class _Looking:
    """Sees each operator of a run; those that decide are named by operator and size, and counted."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def __call__(self, func: Any, args: Any, kwargs: Any, result: Any) -> Any:
        call = _call(func, args, kwargs)
        return result if call is None else self.looked(call, result)

    def looked(self, call: Call, result: Any) -> Any:
        """What is taken for the result."""
        raise NotImplementedError

    def _site(self, call: Call) -> str:
        kind = f"{call.name} {'x'.join(map(str, call.given['self'].shape))}"
        self._seen[kind] += 1
        return f"{kind} {self._seen[kind]}"


class Own(_Looking):
    """Keeps what PyTorch decides, and holds it to the pins."""

    def __init__(self, pins: Pins, records: dict[str, _Record]) -> None:
        super().__init__()
        self._records = records
        self._pinned: dict[str, dict[int, tuple[float, ...]]] = {}
        for (site, row), decided in pins.items():
            self._pinned.setdefault(site, {})[row] = decided
        self._left = _MOST_BYTES

    def looked(self, call: Call, result: Any) -> Any:
        site, how, given = self._site(call), call.how, call.given
        found = how.on(given)
        if found is None:
            return result
        rows = how.rows(given, result).clone()
        self._left -= found[0].nbytes + rows.nbytes
        if self._left < 0:
            return result
        if site in self._pinned:
            for row, decided in self._pinned[site].items():
                if row >= len(rows) or len(decided) != rows.shape[1]:
                    continue  # another run of the program, which came another way
                rows[row] = torch.tensor(decided, dtype=torch.float64).to(rows.dtype)
            result = how.rebuilt(given, result, rows)
        # A copy: the program may go on and write into it.
        self._records[site] = _Record(found[0].clone(), _rounded_as(given), rows)
        return result


class Wide(_Looking):
    """Decides as PyTorch did where that is within rounding, and finds what is as good."""

    def __init__(self, records: Mapping[str, _Record]) -> None:
        super().__init__()
        self._records = records
        self._found: list[tuple[tuple[bool, float], Decision]] = []
        self._count = 0

    def close(self) -> tuple[tuple[Decision, ...], int]:
        """The decisions that are nearest to a boundary, and how many more are near one."""
        found = sorted(self._found, key=lambda one: one[0])[:KEPT]
        return tuple(decision for _, decision in found), self._count - len(found)

    def looked(self, call: Call, result: Any) -> Any:
        site, how, given = self._site(call), call.how, call.given
        record, found = self._records.get(site), how.on(given)
        if record is None or found is None or record.argument.shape != found[0].shape:
            return result
        unit = _unit(record, *found)
        if unit is None or unit.weak:
            return result
        rows = how.rows(given, result)
        if rows.shape != record.rows.shape:
            return result
        own = record.rows.to(rows.dtype)
        otherwise = (own != rows).any(dim=1)
        if otherwise.any():
            kept = (otherwise & how.near(given, unit, own, rows)).unsqueeze(1)
            rows = torch.where(kept, own, rows)
            result = how.rebuilt(given, result, rows)
        others, count = how.others(given, unit, rows)
        self._count += count
        place = call.place() if others else ""
        for near in others:
            have = tuple(float(one) for one in rows[near.row].tolist())
            decision = Decision(site, near.row, have, near.other, near.share, place)
            self._found.append(((near.exact, near.share), decision))
        return result


def _unit(record: _Record, wide: torch.Tensor, size: torch.Tensor) -> Unit | None:
    """PyTorch's own error in what the decision is made on; None where nothing can be said about it."""
    epsilon = epsilon_named(record.dtype)
    finite = wide.isfinite() & record.argument.isfinite()
    count = int(finite.sum())
    if epsilon is None or not count:
        return None
    error = (record.argument - wide)[finite].abs()
    worst, scale = float(error.max()), float(size[finite].square().mean().sqrt())
    if not worst and record.dtype != "float64":
        return Unit(0.0, 0.0, 0.0, scale, 1.0)  # exact numbers decide exactly
    rms = max(float(error.square().mean().sqrt()), floor_of(epsilon) * scale)
    return Unit(rms, worst, epsilon, scale, unlucky(count))


def _rounded_as(given: Mapping[str, Any]) -> str:
    return next(
        str(value.dtype).removeprefix("torch.")
        for value in given.values()
        if isinstance(value, torch.Tensor) and value.is_floating_point()
    )


def _name(func: torch._ops.OpOverload[Any, Any]) -> str:
    namespace, _, name = func._schema.name.partition("::")
    return name if namespace == "aten" else ""


_OURS = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))


def _line() -> str:
    """The line of the user's that is being computed."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        file = frame.f_code.co_filename
        if not file.startswith((*_OURS, "<")):
            return f"{Path(file).name}:{frame.f_lineno}"
    return ""
