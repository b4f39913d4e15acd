"""TVM: moving elements about, picking and reducing, with sizes that are known while compiling or only at run time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tvm_agreement import Agreement, numbers

from compiler.contracts import Dim
from compiler.errors import CompileError

N = Dim("n", 1, 6)


class TestSizesOfDynamicDims(Agreement):
    @pytest.mark.parametrize("size", [1, 2, 5])
    def test_shape_arithmetic_is_followed(self, tmp_path: Path, size: int) -> None:
        text = """(float[n,3,8] x) => (float[k,2,4] y, float[n,m] z, int64[3] s) <int64 zero = {0},
            int64[1] three = {3}, int64[2] tail = {2, 4}, int64[1] open = {-1}, int64[1] first = {0}> {
            s = Shape(x)  n0 = Gather(s, zero)  n1 = Unsqueeze(n0, first)  k0 = Mul(n1, three)
            target = Concat<axis = 0>(k0, tail)  y = Reshape(x, target)
            flat = Concat<axis = 0>(n1, open)  z = Reshape(x, flat) }"""
        self.agree(tmp_path, text, {"x": numbers(size, 3, 8)}, dims=[N])

    def test_a_dim_in_steps_survives_halving(self, tmp_path: Path) -> None:
        text = """(float[1,2,h,4] x) => (float[1,4,h,4] y) <float[4] scales = {1, 1, 2, 1}> {
            p = MaxPool<kernel_shape = [2, 1], strides = [2, 1]>(x)
            u = Resize<coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">(p, , scales)
            y = Concat<axis = 1>(x, u) }"""
        calls = [{"x": numbers(1, 2, size, 4)} for size in (4, 8, 20)]
        self.agree(tmp_path, text, *calls, dims=[Dim("h", 4, 24, 4)])

    def test_ranges_and_masks(self, tmp_path: Path) -> None:
        text = """(float[n] x) => (int64[n] r, bool[n,n] m, float[n,n] e) <int64 zero = {0}, int64 one = {1},
            int64[1] a0 = {0}, int64[1] a1 = {1}> {
            s = Shape(x)  n0 = Squeeze(s)  r = Range(zero, n0, one)  rows = Unsqueeze(r, a1)  columns = Unsqueeze(r, a0)
            m = LessOrEqual(columns, rows)  target = Concat<axis = 0>(s, s)  e = Expand(x, target) }"""
        self.agree(tmp_path, text, {"x": numbers(1)}, {"x": numbers(5)}, dims=[N])


class TestSizesAtRunTime(Agreement):
    def test_reshape(self, tmp_path: Path) -> None:
        text = "(float[2,3,4] x, int64[2] s) => (float[a,b] y) { y = Reshape(x, s) }"
        calls = [{"x": numbers(2, 3, 4), "s": np.array(shape)} for shape in ([4, 6], [-1, 3], [0, -1], [2, 12])]
        self.agree(tmp_path, text, *calls)

    def test_slice(self, tmp_path: Path) -> None:
        text = "(float[5,6] x, int64[1] a, int64[1] b, int64[1] c) => (float[5,k] y, float[j,6] z)"
        text += " <int64[1] one = {1}, int64[1] zero = {0}> { y = Slice(x, a, b, one, c)  z = Slice(x, a, b, zero) }"
        x = numbers(5, 6)
        spans = [(0, 3, 1), (-2, 100, 1), (4, 0, -1), (-1, -100, -2), (3, 3, 1), (1, 6, 2)]
        self.agree(tmp_path, text, *[{"x": x, **dict(zip("abc", map(_one, span), strict=True))} for span in spans])

    def test_pad_expand_tile_range(self, tmp_path: Path) -> None:
        text = """(float[2,3] x, int64[4] p, int64[3] e, int64[2] t, int64 limit) =>
            (float[a,b] padded, float[c,2,3] wide, float[d,f] tiled, int64[g] counted)
            <int64 zero = {0}, int64 two = {2}> {
            padded = Pad(x, p)  wide = Expand(x, e)  tiled = Tile(x, t)  counted = Range(zero, limit, two) }"""
        one = {"p": [1, 0, 0, 2], "e": [2, 1, 1], "t": [1, 2], "limit": 5}
        other = {"p": [0, 1, 1, 0], "e": [1, 2, 3], "t": [3, 1], "limit": 0}
        calls = [{"x": numbers(2, 3), **{key: np.array(value) for key, value in call.items()}} for call in (one, other)]
        self.agree(tmp_path, text, *calls)

    @pytest.mark.parametrize(
        "operator", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceProd", "ReduceL2", "ReduceLogSumExp"]
    )
    def test_axes(self, tmp_path: Path, operator: str) -> None:
        text = f"(float[2,3,4] x, int64[2] a) => (float[p] y, float[q,r,s] z) {{ y = {operator}<keepdims = 0>(x, a)"
        text += f" z = {operator}(x, a) }}"
        self.agree(
            tmp_path, text, *[{"x": numbers(2, 3, 4), "a": np.array(axes)} for axes in ([0, 1], [-1, 0], [1, 2])]
        )

    def test_what_has_no_rank_is_refused_by_name(self, tmp_path: Path) -> None:
        text = "(float[2,3] x, int64[k] s) => (float[a] y) { y = Reshape(x, s) }"
        with pytest.raises(CompileError) as caught, self.opened(tmp_path, text, Dim("k", 1, 4)):
            raise AssertionError("not reached")
        assert caught.value.code == "unsupported-op"
        assert "Reshape" in str(caught.value.where)


def _one(value: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.array([value])


class TestMoving(Agreement):
    def test_slices(self, tmp_path: Path) -> None:
        text = """(float[4,6] x) => (float[2,6] a, float[4,3] b, float[4,6] c, float[0,6] d)
            <int64[1] s0 = {1}, int64[1] e0 = {3}, int64[1] back = {-1}, int64[1] far = {-9223372036854775807},
             int64[1] ax0 = {0}, int64[1] ax1 = {1}, int64[1] two = {2}, int64[1] big = {100}, int64[1] zero = {0}> {
            a = Slice(x, s0, e0, ax0)  b = Slice(x, zero, big, ax1, two)  c = Slice(x, back, far, ax1, back)
            d = Slice(x, e0, s0, ax0) }"""
        self.agree(tmp_path, text, {"x": numbers(4, 6)})

    def test_split_concat_transpose_tile(self, tmp_path: Path) -> None:
        text = """(float[n,7] x) => (float[n,3] a, float[n,4] b, float[n,7] c, float[7,n] t, float[m,14] r)
            <int64[2] sizes = {3, 4}, int64[2] twice = {2, 2}> {
            a, b = Split<axis = 1>(x, sizes)  c = Concat<axis = 1>(b, a)  t = Transpose<perm = [1, 0]>(x)
            r = Tile(x, twice) }"""
        self.agree(tmp_path, text, {"x": numbers(1, 7)}, {"x": numbers(5, 7)}, dims=[N])

    @pytest.mark.parametrize("options", [{}, {"kernels": "plain"}], ids=str)
    def test_windows_of_a_dynamic_height(self, tmp_path: Path, options: dict[str, str]) -> None:
        """TVM cannot tell whether this transposition moves anything, and says so for the whole model."""
        text = """(float[1,3,n,8] x) => (float[1,12,m] y) <int64 zero = {0}, int64 one = {1}, int64[1] front = {0},
             int64[2,1] step = {0, 1}, int64[2,7] columns = {0, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6, 7},
             int64[3] shape = {1, 12, -1}> {
            height = Shape<start = 2, end = 3>(x)  n = Squeeze(height, front)  last = Sub(n, one)
            r = Range(zero, last, one)  above = Unsqueeze(r, front)  rows = Add(above, step)
            a = Gather<axis = 2>(x, rows)  b = Gather<axis = 4>(a, columns)
            c = Transpose<perm = [0, 1, 2, 4, 3, 5]>(b)  y = Reshape(c, shape) }"""
        calls = [{"x": numbers(1, 3, n, 8)} for n in (2, 5)]
        self.agree(tmp_path, text, *calls, dims=[Dim("n", 2, 6)], **options)

    @pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
    def test_padding(self, tmp_path: Path, mode: str) -> None:
        text = "(float[3,5] x) => (float[6,8] y) <int64[4] p = {1, 2, 2, 1}> "
        self.agree(tmp_path, text + f'{{ y = Pad<mode = "{mode}">(x, p) }}', {"x": numbers(3, 5)})

    def test_triangles_and_space(self, tmp_path: Path) -> None:
        text = """(float[1,4,4,6] x) => (float[1,4,4,6] u, float[1,4,4,6] l, float[1,1,8,12] d, float[1,16,2,3] s)
            <int64 one = {1}> { u = Trilu(x, one)  l = Trilu<upper = 0>(x)  d = DepthToSpace<blocksize = 2>(x)
            s = SpaceToDepth<blocksize = 2>(x) }"""
        self.agree(tmp_path, text, {"x": numbers(1, 4, 4, 6)})

    def test_without_elements(self, tmp_path: Path) -> None:
        text = """(float[5,0,2] x) => (float[5,0,2] back, float[0,3] y, float[10,0,2] z)
            <int64[1] last = {-1}, int64[1] first = {-9223372036854775808}, int64[1] one = {1}, int64[2] s = {0, 3},
            int64[3] twice = {2, 1, 1}> {
            back = Slice(x, last, first, one, last)  y = Reshape<allowzero = 1>(x, s)  z = Tile(x, twice) }"""
        self.agree(tmp_path, text, {"x": np.zeros((5, 0, 2), np.float32)})


class TestPicking(Agreement):
    def test_gathers(self, tmp_path: Path) -> None:
        text = """(float[4,5] x, int64[2,3] i, int64[4,2] e, int64[2,1] g) =>
            (float[2,3,5] a, float[4,2,3] b, float[4,2] c, float[2,5] d, float[5] f) <int64 last = {-1}> {
            a = Gather(x, i)  b = Gather<axis = 1>(x, i)  c = GatherElements<axis = 1>(x, e)  d = GatherND(x, g)
            f = Gather(x, last) }"""
        inputs = {"x": numbers(4, 5), "i": np.array([[0, -1, 2], [3, 1, -4]]), "g": np.array([[-1], [2]])}
        self.agree(tmp_path, text, {**inputs, "e": np.array([[0, -1], [4, 3], [2, 2], [-5, 1]])})

    @pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
    def test_scatters(self, tmp_path: Path, reduction: str) -> None:
        """With indices that repeat, for the reductions."""
        rows = [[0, 1], [2, 2]] if reduction != "none" else [[0, 1], [2, 0]]
        text = "(float[3,2] x, int64[2,2] i, float[2,2] u, int64[2,1] j) => (float[3,2] a, float[3,2] b) {"
        text += f' a = ScatterElements<axis = 0, reduction = "{reduction}">(x, i, u)'
        text += f' b = ScatterND<reduction = "{reduction}">(x, j, u) }}'
        repeated = [[1], [1]] if reduction != "none" else [[1], [-1]]
        inputs = {"x": numbers(3, 2), "u": numbers(2, 2, seed=1), "i": np.array(rows), "j": np.array(repeated)}
        self.agree(tmp_path, text, inputs)

    def test_top_k_with_ties_takes_the_first(self, tmp_path: Path) -> None:
        text = """(float[2,6] x) => (float[2,3] v, int64[2,3] p, float[2,2] w, int64[2,2] q)
            <int64[1] three = {3}, int64[1] two = {2}> { v, p = TopK(x, three)  w, q = TopK<largest = 0>(x, two) }"""
        self.agree(tmp_path, text, {"x": np.array([[1, 5, 5, 2, 5, 0], [3, 3, 3, 3, 3, 3]], np.float32)})

    def test_one_hot(self, tmp_path: Path) -> None:
        text = "(int64[3] i) => (float[3,4] y) <int64 depth = {4}, float[2] v = {-1, 2}> { y = OneHot(i, depth, v) }"
        self.agree(tmp_path, text, {"i": np.array([0, -1, 7])})


class TestReducing(Agreement):
    def test_all_reductions(self, tmp_path: Path) -> None:
        names = ["L1", "L2", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]
        outputs = ", ".join(f"float[n,4] {name.lower()}, float[n,1,1] {name.lower()}_all" for name in names)
        body = "  ".join(
            f"{name.lower()} = Reduce{name}<keepdims = 0>(x, one)  {name.lower()}_all = Reduce{name}(x, both)"
            for name in names
        )
        text = f"(float[n,3,4] x) => ({outputs}) <int64[1] one = {{1}}, int64[2] both = {{1, -1}}> {{ {body} }}"
        self.agree(tmp_path, text, {"x": numbers(1, 3, 4)}, {"x": numbers(5, 3, 4)}, dims=[N])

    def test_sums_of_many_numbers_are_precise(self, tmp_path: Path) -> None:
        """One after the other, 2,000 numbers of about 1 add up to errors ten times as large."""
        text = "(float[n,4,50,10] x) => (float y, float[n,1,1,1] z) <int64[3] axes = {1, 2, 3}> {"
        text += " y = ReduceMean<keepdims = 0>(x)  z = ReduceMean(x, axes) }"
        x = 0.7 + 0.1 * np.abs(numbers(6, 4, 50, 10))
        with self.opened(tmp_path, text, N) as session:
            outputs = session({"x": x})
        assert abs(outputs["y"] - x.mean(dtype=np.float64)) < 2e-7
        np.testing.assert_allclose(outputs["z"], x.mean((1, 2, 3), np.float64, keepdims=True), rtol=3e-7)

    def test_nan_is_not_lost(self, tmp_path: Path) -> None:
        x = np.array([[1, np.nan, 3], [np.inf, -np.inf, 0], [-np.inf, -np.inf, -np.inf]], np.float32)
        text = "(float[3,3] x) => (float[3,1] a, float[3,1] b, int64[3,1] c, int64[3,1] d, float[3,1] e)"
        text += " <int64[1] one = {1}> { a = ReduceMax(x, one)  b = ReduceMin(x, one)  c = ArgMax<axis = 1>(x)"
        self.agree(tmp_path, text + "  d = ArgMin<axis = 1>(x)  e = ReduceLogSumExp(x, one) }", {"x": x})

    def test_the_first_of_equal_extremes_or_the_last(self, tmp_path: Path) -> None:
        text = "(float[2,5] x) => (int64[2,1] a, int64[2] b, int64[2,1] c) { a = ArgMax<axis = 1>(x)"
        text += " b = ArgMin<axis = 1, keepdims = 0>(x)  c = ArgMax<axis = -1, select_last_index = 1>(x) }"
        self.agree(tmp_path, text, {"x": np.array([[1, 3, 3, 0, 0], [2, 2, 2, 2, 2]], np.float32)})

    def test_a_single_number(self, tmp_path: Path) -> None:
        text = "(float x) => (float y, float z, float v, int64 i) <int64[1] zero = {0}, int64[1] one = {1}>"
        text += " { y = ReduceMax<keepdims = 0>(x, zero)  z = ReduceL2(x)  v, i = TopK(x, one) }"
        with self.opened(tmp_path, text) as session:
            got = session({"x": np.array(-3, np.float32)})
            assert {name: (value.shape, value.item()) for name, value in got.items()} == {
                "y": ((), -3), "z": ((), 3), "v": ((), -3), "i": ((), 0)
            }  # fmt: skip

    def test_cumulative_sums(self, tmp_path: Path) -> None:
        text = """(float[3,5] x) => (float[3,5] a, float[3,5] b, float[3,5] c) <int64 one = {1}, int64 zero = {0}> {
            a = CumSum(x, one)  b = CumSum<reverse = 1>(x, zero)  c = CumSum<exclusive = 1, reverse = 1>(x, one) }"""
        self.agree(tmp_path, text, {"x": numbers(3, 5)})

    def test_softmax_over_any_axis(self, tmp_path: Path) -> None:
        text = "(float[n,3,4] x) => (float[n,3,4] a, float[n,3,4] b, float[n,3,4] c) { a = Softmax(x)"
        text += " b = Softmax<axis = 1>(x)  c = LogSoftmax<axis = 0>(x) }"
        masked = numbers(2, 3, 4)
        masked[0, 1] = -np.inf
        masked[1, 2, :2] = -np.inf
        self.agree(tmp_path, text, {"x": 30 * numbers(3, 3, 4)}, {"x": masked}, dims=[N])
