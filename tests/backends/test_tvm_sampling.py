"""TVM: reading between the places of a tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tvm_agreement import Agreement, numbers

from compiler.contracts import Dim
from compiler.errors import CompileError


class TestGridSample(Agreement):
    @pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
    @pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
    @pytest.mark.parametrize("aligned", [0, 1])
    def test_within_and_outside(self, tmp_path: Path, mode: str, padding: str, aligned: int) -> None:
        text = "(float[n,2,4,5] x, float[n,3,4,2] g) => (float[n,2,3,4] y) { y = GridSample<"
        text += f'mode = "{mode}", padding_mode = "{padding}", align_corners = {aligned}>(x, g) }}'
        calls = [{"x": numbers(n, 2, 4, 5), "g": 1.3 * numbers(n, 3, 4, 2, seed=n)} for n in (1, 3)]
        self.agree(tmp_path, text, *calls, dims=[Dim("n", 1, 4)], rtol=1e-4)

    def test_three_dims(self, tmp_path: Path) -> None:
        text = "(float[1,2,3,4,5] x, float[1,2,2,2,3] g) => (float[1,2,2,2,2] y) { y = GridSample(x, g) }"
        self.agree(tmp_path, text, {"x": numbers(1, 2, 3, 4, 5), "g": numbers(1, 2, 2, 2, 3)})

    @pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
    @pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
    def test_no_coordinate_reads_foreign_memory(self, tmp_path: Path, mode: str, padding: str) -> None:
        text = f'(float[1,1,2,2] x, float[1,1,5,2] g) => (float[1,1,1,5] y) {{ y = GridSample<mode = "{mode}", '
        text += f'padding_mode = "{padding}">(x, g) }}'
        wild = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30], np.float32)
        grid = np.stack([wild, wild[::-1]], -1)[None, None]
        with self.opened(tmp_path, text) as session:
            assert session({"x": numbers(1, 1, 2, 2), "g": grid})["y"].shape == (1, 1, 1, 5)


@pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid:UserWarning")  # what PyTorch says of one place
class TestAffineGrid(Agreement):
    @pytest.mark.parametrize("aligned", [0, 1])
    @pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 1, 1, 3), (2, 2, 3, 4, 5)])
    def test_sizes_from_the_model_and_from_data(self, tmp_path: Path, size: tuple[int, ...], aligned: int) -> None:
        axes = len(size) - 2
        grid = f"{axes},{axes + 1}"
        wanted = ", ".join(map(str, size))
        dims = ",".join("abc"[:axes])
        fixed = ",".join(map(str, size[2:]))
        text = f"(float[n,{grid}] t, int64[{len(size)}] s) => (float[n,{fixed},{axes}] f, float[n,{dims},{axes}] y)"
        text += f" <int64[{len(size)}] w = {{{wanted}}}> {{ f = AffineGrid<align_corners = {aligned}>(t, w)"
        text += f"  y = AffineGrid<align_corners = {aligned}>(t, s) }}"
        theta = numbers(2, axes, axes + 1)
        calls = [{"t": theta, "s": np.array(given)} for given in (size, (*size[:2], *[2] * axes))]
        self.agree(tmp_path, text, *calls, dims=[Dim("n", 1, 4)])


class TestDeformConv(Agreement):
    def test_groups_mask_and_bias(self, tmp_path: Path) -> None:
        text = """(float[n,4,6,5] x, float[6,2,3,2] w, float[n,24,4,6] o, float[6] b, float[n,12,4,6] m) =>
            (float[n,6,4,6] y) { y = DeformConv<group = 2, offset_group = 2, pads = [0, 1, 0, 1]>(x, w, o, b, m) }"""
        calls = [
            {"x": numbers(n, 4, 6, 5), "w": numbers(6, 2, 3, 2), "o": numbers(n, 24, 4, 6, seed=n), "b": numbers(6)}
            | {"m": numbers(n, 12, 4, 6)}
            for n in (1, 2)
        ]
        self.agree(tmp_path, text, *calls, dims=[Dim("n", 1, 4)], rtol=1e-4)

    def test_strides_and_dilations(self, tmp_path: Path) -> None:
        text = "(float[1,2,7,7] x, float[3,2,2,2] w, float[1,8,3,3] o) => (float[1,3,3,3] y)"
        text += " { y = DeformConv<strides = [2, 2], dilations = [2, 2]>(x, w, o) }"
        self.agree(tmp_path, text, {"x": numbers(1, 2, 7, 7), "w": numbers(3, 2, 2, 2), "o": numbers(1, 8, 3, 3)})


class TestRoiAlign(Agreement):
    @pytest.mark.parametrize("ratio", [0, 2])
    @pytest.mark.parametrize("how", ["half_pixel", "output_half_pixel"])
    def test_mean_of_regions(self, tmp_path: Path, ratio: int, how: str) -> None:
        text = (
            "(float[2,3,8,9] x, float[r,4] boxes, int64[r] images) => (float[r,3,2,3] y) { y = RoiAlign<spatial_scale"
        )
        text += f' = 0.5, output_height = 2, output_width = 3, sampling_ratio = {ratio}, mode = "avg", '
        text += f'coordinate_transformation_mode = "{how}">(x, boxes, images) }}'
        boxes = np.array([[0, 0, 7, 9], [3, 2, 20, 11], [-4, 1, 2, 2]], np.float32)
        call = {"x": numbers(2, 3, 8, 9), "boxes": boxes, "images": np.array([0, 1, 1])}
        self.agree(tmp_path, text, call, dims=[Dim("r", 1, 8)], rtol=1e-4)

    def test_the_largest_is_refused_by_name(self, tmp_path: Path) -> None:
        text = "(float[1,1,8,8] x, float[1,4] b, int64[1] i) => (float[1,1,1,1] y)"
        text += ' { y = RoiAlign<mode = "max">(x, b, i) }'
        with pytest.raises(CompileError) as caught, self.opened(tmp_path, text):
            pass
        assert caught.value.code == "unsupported-op"
