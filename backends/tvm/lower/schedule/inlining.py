"""Which stages are computed where they are read, and which are computed once and kept.

A stage that is read twice is written out twice, with all that was written into it before: a chain of such steps doubles
at each. So one that is read several times is written out only as long as that stays short, and what a kernel comes to
is at most a fixed multiple of its stages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tvm import ir, s_tir
from tvm.s_tir.schedule import ScheduleError
from tvm_ffi.structural import WalkResult, structural_walk

from backends.tvm.lower.schedule.tools import Block, blocks_of

# Nodes of expressions, over all the places where one stage is written out.
_LARGEST = 512


def inline_short(sch: s_tir.Schedule, stages: Sequence[Block]) -> list[Block]:
    """Inlines what may be of the stages, which are in the order in which they run; gives those that are left."""
    nodes_and_reads = {_made_by(sch, block): _nodes_and_reads(sch.get(block).body) for block in blocks_of(sch)}
    times_read = sum((reads for _, reads in nodes_and_reads.values()), Counter())
    sizes: Counter[Any] = Counter()  # of what was inlined, with what had been inlined into it
    left = []
    for block in stages:
        made = _made_by(sch, block)
        nodes, reads = nodes_and_reads[made]
        size = nodes + sum(times * sizes[source] for source, times in reads.items())
        times = times_read[made]
        if (times == 1 or times * size <= _LARGEST) and inline_if_possible(sch, block):
            sizes[made] = size
        else:
            left.append(block)
    return left


def inline_if_possible(sch: s_tir.Schedule, block: Block) -> bool:
    try:
        sch.compute_inline(block)
    except ScheduleError:  # an output, or a producer that something else must see whole
        return False
    return True


def _made_by(sch: s_tir.Schedule, block: Block) -> Any:
    return sch.get(block).writes[0].source


def _nodes_and_reads(body: Any) -> tuple[int, Counter[Any]]:
    nodes, reads = 0, Counter[Any]()

    def count(expr: Any) -> None:
        nonlocal nodes
        nodes += 1
        if isinstance(expr, ir.TensorLoad):
            reads[expr.source] += 1

    structural_walk(body, ((ir.Type, lambda _: WalkResult.SKIP), (ir.Expr, count)), order="pre")
    return nodes, reads
