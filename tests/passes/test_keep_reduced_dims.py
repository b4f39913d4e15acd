"""A reduction keeps the axes that it loses and gets back, and loses those that it keeps and drops."""

from __future__ import annotations

import pytest
from check import check_pass, check_unchanged

from compiler.passes.keep_reduced_dims import KeepReducedDims

KEPT = "(float[b,3,4] x) => (float[b,1,4] y) <int64[1] a = {1}, int64[1] c = {-2}, int64[1] d = {0}>"
LOST = KEPT.replace("[b,1,4]", "[b,4]")


def used(graph: str) -> str:
    """Without the constants that the body does not name."""
    head, body = graph.split(">", 2)[0] + ">" + graph.split(">", 2)[1], graph.split(">", 2)[2]
    declared = [text for text in head.split("<")[1].rstrip("> ").split(", ") if f"{text.split()[1]})" in body]
    return head.split("<")[0] + "<" + ", ".join(declared) + ">" + body


@pytest.mark.parametrize(("axes", "back"), [("a", "a"), ("c", "a"), ("a", "c")])
@pytest.mark.parametrize("operator", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceL2"])
def test_axes_that_come_back_are_kept(operator: str, axes: str, back: str) -> None:
    before = f"{KEPT} {{ t = {operator}<keepdims=0>(x, {axes}) y = Unsqueeze(t, {back}) }}"
    check_pass(KeepReducedDims(), used(before), used(f"{KEPT} {{ y = {operator}<keepdims=1>(x, {axes}) }}"))


def test_axes_that_go_are_not_kept() -> None:
    before = f"{LOST} {{ t = ReduceSum<keepdims=1>(x, a) y = Squeeze(t, c) }}"
    check_pass(KeepReducedDims(), used(before), used(f"{LOST} {{ y = ReduceSum<keepdims=0>(x, a) }}"))


@pytest.mark.parametrize(
    "graph",
    [
        f"{KEPT.replace('[b,1,4] y', '[1,b,4] y')} {{ t = ReduceSum<keepdims=0>(x, a) y = Unsqueeze(t, d) }}",
        f"{KEPT.replace('y)', 'y, float[b,4] t)')} {{ t = ReduceSum<keepdims=0>(x, a) y = Unsqueeze(t, a) }}",
        f"{KEPT.replace('[b,1,4] y', '[b,1,1,4] y')} {{ t = ReduceSum<keepdims=1>(x, a) y = Unsqueeze(t, a) }}",
        "(float[1,3,4] x) => (float[3,1] y) <int64[1] a = {2}, int64[1] d = {0}> "
        "{ t = ReduceSum<keepdims=1>(x, a) y = Squeeze(t, d) }",
    ],
)
def test_other_axes_stay(graph: str) -> None:
    check_unchanged(KeepReducedDims(), graph)
