"""Arithmetic on extents: plain integers where they are known, TVM expressions over the named dims where not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import tvm_ffi
from tvm import sym, tirx

Extent = Any  # int or an int64 PrimExpr; TVM's classes are untyped


def settled(extent: Extent, analyzer: sym.Analyzer) -> Extent:
    """The same extent as simple as it can be said: an int where it is a constant."""
    if isinstance(extent, int):
        return extent
    simple = analyzer.simplify(extent)
    return int(simple) if isinstance(simple, tirx.IntImm) else simple


def expression(extent: Extent) -> Any:
    return tirx.IntImm("int64", extent) if isinstance(extent, int) else extent


def divisor(extent: Any) -> Any:
    """An extent to divide places by. There are none to divide where it is 0, but a 0 in the formula is an error."""
    return tirx.IntImm("int64", 1) if isinstance(extent, tirx.IntImm) and int(extent) == 0 else extent


def equal(one: Any, other: Any) -> Any:
    """`==` as an expression. TVM's own operator gives something that is compared when it is asked for its truth."""
    if isinstance(other, int):
        other = tirx.const(other, one.ty.dtype)
    return tirx.EQ(one, other)


def same(one: Extent, other: Extent, analyzer: sym.Analyzer) -> bool:
    """Whether two extents are provably equal."""
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    return bool(analyzer.can_prove_equal(expression(one), expression(other)))


def product(extents: Iterable[Extent]) -> Extent:
    total: Extent = 1
    for extent in extents:
        total = extent if isinstance(total, int) and total == 1 else total * extent
    return total


def quotient(whole: Sequence[Extent], part: Sequence[Extent], analyzer: sym.Analyzer) -> Extent:
    """product(whole) / product(part), which is known to come out even. Common factors are cancelled first: a general
    simplifier does not see that b*s*768 / (b*s*12) is 64."""
    above_number, above = _factors(whole)
    below_number, below = _factors(part)
    for factor in list(below):
        match = next((candidate for candidate in above if tvm_ffi.structural_equal(candidate, factor)), None)
        if match is not None:
            above.remove(match)
            below.remove(factor)
    if not below and above_number % below_number == 0:
        return settled(product([*above, above_number // below_number]), analyzer)
    divided = tirx.floordiv(expression(product([*above, above_number])), expression(product([*below, below_number])))
    return settled(divided, analyzer)


def step_count(amount: Extent, step: int, analyzer: sym.Analyzer) -> Extent:
    """How many steps of this length an amount takes; none where it is negative."""
    if isinstance(amount, int):
        return max(-(-amount // step), 0)
    count = settled(amount if step == 1 else tirx.floordiv(amount + (step - 1), step), analyzer)
    return max(count, 0) if isinstance(count, int) else settled(tirx.max(count, tirx.IntImm("int64", 0)), analyzer)


def _factors(extents: Iterable[Extent]) -> tuple[int, list[Any]]:
    number, factors = 1, []
    pending = list(extents)
    while pending:
        extent = pending.pop()
        if isinstance(extent, int | tirx.IntImm):
            number *= int(extent)
        elif isinstance(extent, tirx.Mul):
            pending += [extent.a, extent.b]
        else:
            factors.append(extent)
    return number, factors
