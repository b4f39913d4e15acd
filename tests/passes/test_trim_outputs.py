from __future__ import annotations

from check import check_pass, check_unchanged

from backends.tensorrt.passes.trim_outputs import TrimOutputs


def test_outputs_that_nobody_reads_go() -> None:
    check_pass(
        TrimOutputs(),
        "(float[2,3] x, float[3] w) => (float[2,3] y) { y, mean, deviation = LayerNormalization(x, w) }",
        "(float[2,3] x, float[3] w) => (float[2,3] y) { y = LayerNormalization(x, w) }",
    )


def test_an_output_that_is_read_stays_with_those_before_it() -> None:
    check_pass(
        TrimOutputs(),
        "(float[2,3] x, float[3] w) => (float[2,3] y, float[2,1] m) { y, m, deviation = LayerNormalization(x, w) }",
        "(float[2,3] x, float[3] w) => (float[2,3] y, float[2,1] m) { y, m = LayerNormalization(x, w) }",
    )


def test_outputs_that_belong_together_stay() -> None:
    check_unchanged(TrimOutputs(), "(float[4] x) => (float[2] a) { a, b = Split<num_outputs = 2>(x) }")
