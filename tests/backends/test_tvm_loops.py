"""TVM: loops whose length is only known when they run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tvm_agreement import Agreement, numbers

from compiler.contracts import Dim
from compiler.errors import CompileError

COUNTED = """(float[2] x, int64 times) => (float[2] y, float[k,2] all) <bool yes = {1}> {
    y, all = Loop(times, yes, x) <body = b (int64 i, bool c, float[2] s) => (bool d, float[2] t, float[2] u) {
        d = Identity(c)  t = Add(s, x)  j = Cast<to = 1>(i)  u = Mul(s, j) } > }"""

# Collatz: how often, and through which numbers, until it is 1.
WHILE = """(int64 n) => (int64 last, int64 count, int64[k] path) <int64 one = {1}, int64 two = {2}, int64 zero = {0},
    int64 three = {3}> {
    more = Greater(n, one)
    last, count, path = Loop(, more, n, zero) <body = b (int64 i, bool c, int64 v, int64 m)
        => (bool d, int64 w, int64 p, int64 u) {
        half = Div(v, two)  odd = Mod(v, two)  is_odd = Equal(odd, one)  tripled = Mul(v, three)  up = Add(tripled, one)
        w = Where(is_odd, up, half)  p = Add(m, one)  d = Greater(w, one)  u = Identity(v) } > }"""


class TestLoops(Agreement):
    def test_as_often_as_the_data_says(self, tmp_path: Path) -> None:
        self.agree(tmp_path, COUNTED, *[{"x": numbers(2), "times": np.array(n)} for n in (1, 5, 100)])

    def test_not_at_all(self, tmp_path: Path) -> None:
        with self.opened(tmp_path, COUNTED) as session:
            found = session({"x": numbers(2), "times": np.array(0)})
        assert found["all"].shape == (0, 2)
        np.testing.assert_array_equal(found["y"], numbers(2))

    def test_until_a_condition_ends_it(self, tmp_path: Path) -> None:
        with self.opened(tmp_path, WHILE) as session:
            for n, steps in ((1, 0), (2, 1), (27, 111)):
                found = session({"n": np.array(n)})
                assert (found["last"].item(), found["count"].item(), found["path"].shape) == (1, steps, (steps,))
            assert session({"n": np.array(6)})["path"].tolist() == [6, 3, 10, 5, 16, 8, 4, 2]

    def test_many_steps_take_no_stack(self, tmp_path: Path) -> None:
        text = """(int64 n) => (int64 y) <int64 one = {1}, int64 zero = {0}, bool yes = {1}> {
            y = Loop(n, yes, zero) <body = b (int64 i, bool c, int64 s) => (bool d, int64 t) {
                d = Identity(c)  t = Add(s, one) } > }"""
        with self.opened(tmp_path, text) as session:
            assert session({"n": np.array(100_000)})["y"] == 100_000

    def test_what_it_takes_from_outside(self, tmp_path: Path) -> None:
        """Tensors of dynamic size, a size that is worked out, and weights of more than a few bytes."""
        values = ", ".join(str(number / 2000) for number in range(36 * 36))
        text = f"""(float[n,36] x, int64 times) => (float[n,36] y) <bool yes = {{1}}, int64[1] at = {{0}},
            float[36,36] w = {{{values}}}> {{
            s = Shape(x)  rows = Gather(s, at)
            y = Loop(times, yes, x) <body = b (int64 i, bool c, float[n,36] v) => (bool d, float[n,36] t) {{
                d = Identity(c)  m = MatMul(v, w)  r = Cast<to = 1>(rows)  e = Div(m, r)  t = Add(e, x) }} > }}"""
        calls = [{"x": numbers(n, 36), "times": np.array(3)} for n in (1, 4)]
        self.agree(tmp_path, text, *calls, dims=[Dim("n", 1, 6)], rtol=1e-4)

    def test_a_branch_and_a_loop_within(self, tmp_path: Path) -> None:
        text = """(float[2] x, int64 times) => (float[2] y) <bool yes = {1}, int64 two = {2}, int64 zero = {0}> {
            y = Loop(times, yes, x) <body = b (int64 i, bool c, float[2] s) => (bool d, float[2] t) {
                d = Identity(c)  rest = Mod(i, two)  even = Equal(rest, zero)
                h = If(even) <then_branch = g1 () => (float[2] p) { p = Add(s, x) },
                    else_branch = g2 () => (float[2] q) { q = Sub(s, x) }>
                t = Loop(i, yes, h) <body = e (int64 j, bool f, float[2] u) => (bool g, float[2] v) {
                    g = Identity(f)  v = Add(u, x) } > } > }"""
        self.agree(tmp_path, text, *[{"x": numbers(2), "times": np.array(n)} for n in (1, 4)])

    def test_a_known_length_that_is_too_long_to_write_out(self, tmp_path: Path) -> None:
        text = COUNTED.replace(", int64 times)", ")").replace(
            "<bool yes = {1}>", "<bool yes = {1}, int64 times = {600}>"
        )
        self.agree(tmp_path, text, {"x": numbers(2)}, rtol=1e-4)

    def test_a_size_within_that_depends_on_data(self, tmp_path: Path) -> None:
        text = """(float[5] x, float[1] z, int64 times) => (float[1] y, float[k,1] all)
            <bool yes = {1}, int64[1] one = {1}, int64[1] at = {0}> {
            y, all = Loop(times, yes, z) <body = b (int64 i, bool c, float[1] s) => (bool d, float[1] t, float[1] u) {
                d = Identity(c)  from = Unsqueeze(i, at)  to = Add(from, one)  part = Slice(x, from, to)
                t = Add(s, part)  u = Identity(t) } > }"""
        self.agree(tmp_path, text, *[{"x": numbers(5), "z": numbers(1), "times": np.array(n)} for n in (1, 5)])

    @pytest.mark.parametrize("body", ["t = Concat<axis = 0>(s, s)", "t = Slice(s, f, l)"])
    def test_what_it_carries_has_one_shape(self, tmp_path: Path, body: str) -> None:
        text = f"""(float[2] x, int64 times) => (float[k] y)
            <bool yes = {{1}}, int64[1] f = {{0}}, int64[1] l = {{1}}> {{
            y = Loop(times, yes, x) <body = b (int64 i, bool c, float[m] s) => (bool d, float[j] t) {{
                d = Identity(c)  {body} }} > }}"""
        with pytest.raises(CompileError) as caught, self.opened(tmp_path, text):
            raise AssertionError("not reached")
        assert (caught.value.code, "what it carries changes" in str(caught.value.why)) == ("unsupported-op", True)
