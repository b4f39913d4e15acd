from __future__ import annotations

import pytest
from check import check_pass, check_unchanged

from compiler.passes.fold_pads import FoldPads

HEAD = "(float[n,2,6,6] x) => (float[n,4,6,6] y) <float[4,2,3,3] w"
WEIGHT = " = {" + ", ".join(str(number % 7) for number in range(72)) + "}"
ROUND = "int64[8] p = {0, 0, 1, 1, 0, 0, 1, 1}"
POOL = "(float[n,2,6,6] x) => (float[n,2,6,6] y) <" + ROUND


def test_zeros_around_the_picture() -> None:
    before = HEAD + WEIGHT + f", {ROUND}> {{ t = Pad(x, p)  y = Conv(t, w) }}"
    check_pass(FoldPads(), before, HEAD + WEIGHT + "> { y = Conv<pads = [1, 1, 1, 1]>(x, w) }")


def test_pads_add_up() -> None:
    head = HEAD.replace("4,6,6", "4,8,8")
    before = head + WEIGHT + f", {ROUND}, float z = {{0}}> {{ t = Pad(x, p, z)  y = Conv<pads = [1, 1, 1, 1]>(t, w) }}"
    check_pass(FoldPads(), before, head + WEIGHT + "> { y = Conv<pads = [2, 2, 2, 2]>(x, w) }")


def test_named_axes() -> None:
    before = HEAD + WEIGHT + ", int64[4] p = {1, 1, 1, 1}, int64[2] a = {2, -1}> "
    check_pass(
        FoldPads(),
        before + "{ t = Pad(x, p, , a)  y = Conv(t, w) }",
        HEAD + WEIGHT + "> { y = Conv<pads = [1, 1, 1, 1]>(x, w) }",
    )


def test_an_average_that_counts_its_pads() -> None:
    call = "AveragePool<kernel_shape = [3, 3], count_include_pad = 1"
    before = POOL + f"> {{ t = Pad(x, p)  y = {call}>(t) }}"
    after = POOL.partition("<")[0] + f"{{ y = {call}, pads = [1, 1, 1, 1]>(x) }}"
    check_pass(FoldPads(), before, after)


def test_a_maximum_padded_with_the_lowest() -> None:
    before = POOL + ", float low = {-inf}> { t = Pad(x, p, low)  y = MaxPool<kernel_shape = [3, 3]>(t) }"
    after = POOL.partition("<")[0] + "{ y = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x) }"
    check_pass(FoldPads(), before, after)


@pytest.mark.parametrize(
    ("graph", "because"),
    [
        (HEAD + WEIGHT + f", {ROUND}, float v = {{1}}> {{ t = Pad(x, p, v)  y = Conv(t, w) }}", "padded with 1"),
        (HEAD + WEIGHT + f", {ROUND}> {{ t = Pad<mode = \"reflect\">(x, p)  y = Conv(t, w) }}", "mode reflect"),
        (HEAD.replace("[n,2,6", "[n,1,6") + WEIGHT + ", int64[8] p = {0, 1, 1, 1, 0, 0, 1, 1}> "
         "{ t = Pad(x, p)  y = Conv(t, w) }", "around the picture"),
        (HEAD + WEIGHT + f", {ROUND}> {{ t = Pad(x, p)  y = Conv<auto_pad = \"SAME_UPPER\", strides = [1, 1]>(t, w) }}"
         .replace("4,6,6] y", "4,8,8] y"), "pads by itself"),
        (POOL + "> { t = Pad(x, p)  y = MaxPool<kernel_shape = [3, 3]>(t) }", "not with the lowest"),
        (POOL + "> { t = Pad(x, p)  y = AveragePool<kernel_shape = [3, 3]>(t) }", "does not count"),
    ],
)  # fmt: skip
def test_what_stays(graph: str, because: str) -> None:
    check_unchanged(FoldPads(), graph, because)
