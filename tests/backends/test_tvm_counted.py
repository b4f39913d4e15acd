"""TVM: results that are as long as the data says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tvm_agreement import Agreement, numbers

from compiler.contracts import Array, Dim
from compiler.errors import CompileError


class TestPlaces(Agreement):
    @pytest.mark.parametrize("dtype", ["float", "int64", "bool", "float16"])
    def test_non_zero(self, tmp_path: Path, dtype: str) -> None:
        kind = {"float": "float32"}.get(dtype, dtype)
        text = f"({dtype}[n,3] x) => (int64[2,k] places, int64[k] columns) <int64 one = {{1}}> {{"
        text += " places = NonZero(x)  columns = Gather(places, one) }"
        some = np.array([[0, 1, 0], [2, 0, 0], [0, 0, 3]])
        calls = [{"x": given.astype(kind)} for given in (some, np.zeros((2, 3)), np.ones((1, 3)))]
        self.agree(tmp_path, text, *calls, dims=[Dim("n", 1, 6)])

    def test_what_it_found_is_computed_on(self, tmp_path: Path) -> None:
        """The length has a name, and further operators take it."""
        text = """(float[4,5] x) => (float[k] y, int64[1] count) <float zero = {0}, int64[1] one = {1}> {
            mask = Greater(x, zero)  places = NonZero(mask)  rows = Transpose(places)  found = GatherND(x, rows)
            y = Sqrt(found)  s = Shape(places)  count = Gather(s, one) }"""
        self.agree(tmp_path, text, {"x": numbers(4, 5)}, {"x": -np.abs(numbers(4, 5))})

    def test_compress(self, tmp_path: Path) -> None:
        text = """(float[3,4] x, bool[c] rows, bool[4] columns) => (float[a,4] top, float[3,b] left, float[d] flat) {
            top = Compress<axis = 0>(x, rows)  left = Compress<axis = 1>(x, columns)  flat = Compress(x, rows) }"""
        columns = np.array([True, False, False, True])
        calls = [{"x": numbers(3, 4), "rows": np.array(rows), "columns": columns} for rows in ([False, True], [True])]
        self.agree(tmp_path, text, *calls, dims=[Dim("c", 1, 3)])

    def test_nothing_to_look_at(self, tmp_path: Path) -> None:
        self.agree(tmp_path, "(float[5,0] x) => (int64[2,k] y) { y = NonZero(x) }", {"x": np.zeros((5, 0), "float32")})

    @pytest.mark.parametrize("x", [0.0, 2.0])
    def test_a_number_has_no_place(self, tmp_path: Path, x: float) -> None:
        """As PyTorch has it: one answer of no coordinates, or none."""
        text = "(float x) => (int64[k,0] y) { places = NonZero(x)  y = Transpose<perm = [1, 0]>(places) }"
        with self.opened(tmp_path, text) as session:
            assert session({"x": np.array(x, np.float32)})["y"].shape == (int(x != 0), 0)


class TestUnique(Agreement):
    TEXT = """(float[n,2] x) => (float[k] y, int64[k] first, int64[m] inverse, int64[k] counts) {
        y, first, inverse, counts = Unique<sorted = ORDER>(x) }"""

    @pytest.mark.parametrize("numbers", [[[3, 1], [1, 2], [3, 3]], [[7, 7]], [[2, 1]]])
    @pytest.mark.parametrize("in_order", [True, False])
    def test_unique(self, tmp_path: Path, numbers: list[list[int]], in_order: bool) -> None:
        x = np.array(numbers, np.float32)
        values, first, inverse, counts = np.unique(x, return_index=True, return_inverse=True, return_counts=True)
        order = np.arange(len(values)) if in_order else np.argsort(first)
        with self.opened(tmp_path, self.TEXT.replace("ORDER", str(int(in_order))), Dim("n", 1, 4)) as session:
            got = session({"x": x})
        np.testing.assert_array_equal(got["y"], values[order])
        np.testing.assert_array_equal(got["first"], first[order])
        np.testing.assert_array_equal(got["inverse"], np.argsort(order)[inverse.ravel()])
        np.testing.assert_array_equal(got["counts"], counts[order])

    @pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "uint64", "double"])
    def test_sorting_takes_every_type(self, tmp_path: Path, dtype: str) -> None:
        kind = {"double": "float64"}.get(dtype, dtype)
        largest = np.finfo(kind).max if kind == "float64" else np.iinfo(kind).max
        x = np.array([5, largest, 0, 5, 7, largest], kind)
        text = f"({dtype}[6] x) => ({dtype}[k] y, {dtype}[3] top, int64[3] places)"
        text += " { three = Constant<value_ints = [3]>()  y = Unique(x)  top, places = TopK(x, three) }"
        self.agree(tmp_path, text, {"x": x})

    def test_slices_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CompileError, match="tvm cannot build") as failure:
            self.agree(tmp_path, "(float[2,2] x) => (float[k,2] y) { y = Unique<axis = 0>(x) }")
        assert failure.value.code == "unsupported-op"


class TestNonMaxSuppression(Agreement):
    TEXT = """(float[1,n,4] boxes, float[1,2,n] scores, int64[1] most) => (int64[k,3] y)
        <float[1] share = {0.5}, float[1] least = {0.1}> { y = NonMaxSuppression(boxes, scores, most, share, least) }"""

    @pytest.mark.parametrize("most", [0, 1, 3, 100])
    def test_boxes(self, tmp_path: Path, most: int) -> None:
        calls = [self._drawn(count, most) for count in (1, 5, 40)]
        self.agree(tmp_path, self.TEXT, *calls, dims=[Dim("n", 1, 64)])

    def _drawn(self, count: int, most: int) -> dict[str, Array]:
        draw = np.random.default_rng(count)
        corner, size = draw.uniform(0, 4, (1, count, 2)), draw.uniform(1, 3, (1, count, 2))
        return {
            "boxes": np.concatenate([corner, corner + size], -1).astype("float32"),
            "scores": draw.uniform(0, 1, (1, 2, count)).astype("float32"),
            "most": np.array([most]),
        }
