"""TVM: convolutions, pooling, normalization, attention, resizing and control flow against the evaluator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tvm_agreement import Agreement, numbers

from compiler.contracts import Dim

N = Dim("n", 1, 4)


class TestLinear(Agreement):
    def test_products(self, tmp_path: Path) -> None:
        text = """(float[n,3,8] x, float[n,8,5] y, float[8] v, float[5,8] w, float[5] b) =>
            (float[n,3,5] a, float[n,3] c, float[n,3,5] d) {
            a = MatMul(x, y)  c = MatMul(x, v)  t = Transpose<perm = [1, 0]>(w)  e = MatMul(x, t)  d = Add(e, b) }"""
        calls = [
            {"x": numbers(n, 3, 8), "y": numbers(n, 8, 5), "v": numbers(8), "w": numbers(5, 8), "b": numbers(5)}
            for n in (1, 3)
        ]
        self.agree(tmp_path, text, *calls, dims=[N])

    @pytest.mark.parametrize("turned", [(0, 0), (0, 1), (1, 0), (1, 1)])
    def test_gemm(self, tmp_path: Path, turned: tuple[int, int]) -> None:
        a, b = numbers(4, 6), numbers(6, 5, seed=1)
        a, b = (x.T.copy() if flag else x for x, flag in zip((a, b), turned, strict=True))
        shape_a, shape_b = (",".join(map(str, x.shape)) for x in (a, b))
        text = f"(float[{shape_a}] a, float[{shape_b}] b, float[5] c) => (float[4,5] y) {{"
        text += f" y = Gemm<transA = {turned[0]}, transB = {turned[1]}, alpha = 0.5, beta = 2.0>(a, b, c) }}"
        self.agree(tmp_path, text, {"a": a, "b": b, "c": numbers(5)})


class TestConvolution(Agreement):
    @pytest.mark.parametrize(
        ("attributes", "weight", "height"),
        [
            ("pads = [1, 1, 1, 1]", (6, 4, 3, 3), 9),
            ("strides = [2, 2], pads = [0, 1, 2, 1]", (6, 4, 3, 3), 5),
            ("dilations = [2, 1]", (6, 4, 3, 3), 5),
            ("group = 2, pads = [1, 1, 1, 1]", (6, 2, 3, 3), 9),
            ("group = 4, pads = [1, 1, 1, 1]", (4, 1, 3, 3), 9),
            ('auto_pad = "SAME_UPPER", strides = [2, 2]', (6, 4, 3, 3), 5),
        ],
    )
    def test_in_two_dims(self, tmp_path: Path, attributes: str, weight: tuple[int, ...], height: int) -> None:
        shape = ",".join(map(str, weight))
        text = f"(float[n,4,9,9] x, float[{shape}] w, float[{weight[0]}] b) => (float[n,{weight[0]},{height},k] y) "
        text += f"{{ y = Conv<{attributes}>(x, w, b) }}"
        rest = {"w": numbers(*weight, seed=1), "b": numbers(weight[0], seed=2)}
        calls = [{"x": numbers(n, 4, 9, 9), **rest} for n in (1, 3)]
        self.agree(tmp_path, text, *calls, dims=[N])

    def test_in_one_and_three_dims(self, tmp_path: Path) -> None:
        text = """(float[2,4,t] x, float[3,4,3] w, float[1,2,4,5,6] c, float[3,2,2,2,2] d) =>
            (float[2,3,t] y, float[1,3,3,4,5] z) { y = Conv<pads = [1, 1]>(x, w)  z = Conv(c, d) }"""
        rest = {"w": numbers(3, 4, 3), "c": numbers(1, 2, 4, 5, 6), "d": numbers(3, 2, 2, 2, 2)}
        calls = [{"x": numbers(2, 4, t), **rest} for t in (3, 10)]
        self.agree(tmp_path, text, *calls, dims=[Dim("t", 3, 12)])

    def test_transposed(self, tmp_path: Path) -> None:
        text = """(float[2,4,5,5] x, float[4,3,3,3] w, float[4,2,3,3] g) => (float[2,3,10,10] y, float[2,4,7,7] z) {
            y = ConvTranspose<strides = [2, 2], pads = [1, 1, 1, 1], output_padding = [1, 1]>(x, w)
            z = ConvTranspose<group = 2>(x, g) }"""
        inputs = {"x": numbers(2, 4, 5, 5), "w": numbers(4, 3, 3, 3, seed=1), "g": numbers(4, 2, 3, 3, seed=2)}
        self.agree(tmp_path, text, inputs)

    def test_half_precision_is_added_up_in_single(self, tmp_path: Path) -> None:
        """4096 ones are 4096; in float16 the sum would stop at 2048."""
        text = "(float16[1,4096] x, float16[4096,1] w) => (float16[1,1] y) { y = MatMul(x, w) }"
        with self.opened(tmp_path, text) as session:
            ones = np.ones(4096, np.float16)
            assert session({"x": ones[None], "w": ones[:, None]})["y"].tolist() == [[4096]]


class TestPooling(Agreement):
    @pytest.mark.parametrize("ceil", [0, 1])
    def test_windows(self, tmp_path: Path, ceil: int) -> None:
        attributes = f"kernel_shape = [3, 2], strides = [2, 2], pads = [1, 0, 1, 1], ceil_mode = {ceil}"
        text = f"""(float[n,2,8,7] x) => (float[n,2,k,l] a, float[n,2,k,l] b, float[n,2,k,l] c, float[n,2,1,1] d) {{
            a = MaxPool<{attributes}>(x)  b = AveragePool<{attributes}>(x)
            c = AveragePool<{attributes}, count_include_pad = 1>(x)  d = GlobalAveragePool(x) }}"""
        self.agree(tmp_path, text, {"x": numbers(1, 2, 8, 7)}, {"x": numbers(3, 2, 8, 7)}, dims=[N])

    def test_places(self, tmp_path: Path) -> None:
        text = "(float[1,2,6,6] x) => (float[1,2,3,3] y, int64[1,2,3,3] p) {"
        text += " y, p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(x) }"
        self.agree(tmp_path, text, {"x": numbers(1, 2, 6, 6)}, {"x": np.zeros((1, 2, 6, 6), np.float32)})


class TestNormalization(Agreement):
    def test_over_features(self, tmp_path: Path) -> None:
        text = """(float[n,3,8] x, float[8] s, float[8] b, float[3,8] t) =>
            (float[n,3,8] a, float[n,3,8] c, float[n,3,8] d) {
            a = LayerNormalization(x, s, b)  c = RMSNormalization(x, s)  d = LayerNormalization<axis = 1>(x, t, t) }"""
        rest = {"s": numbers(8, seed=1), "b": numbers(8, seed=2), "t": numbers(3, 8, seed=3)}
        self.agree(tmp_path, text, {"x": 9 * numbers(1, 3, 8), **rest}, {"x": numbers(3, 3, 8), **rest}, dims=[N])

    def test_over_places(self, tmp_path: Path) -> None:
        text = """(float[n,4,5,3] x, float[4] s, float[4] b, float[4] m, float[4] v) =>
            (float[n,4,5,3] a, float[n,4,5,3] c, float[n,4,5,3] d) {
            a = BatchNormalization(x, s, b, m, v)  c = InstanceNormalization(x, s, b)
            d = GroupNormalization<num_groups = 2>(x, s, b) }"""
        rest = {name: numbers(4, seed=seed) for seed, name in enumerate("sbm", 1)}
        calls = [{"x": numbers(n, 4, 5, 3), **rest, "v": np.ones(4, np.float32)} for n in (1, 2)]
        self.agree(tmp_path, text, *calls, dims=[N])


class TestAttention(Agreement):
    def test_with_a_mask_and_without(self, tmp_path: Path) -> None:
        """A query that may see nothing gives 0."""
        text = """(float[n,2,4,8] q, float[n,2,6,8] k, float[n,2,6,8] v, bool[n,1,4,6] m, float[4,6] f) =>
            (float[n,2,4,8] a, float[n,2,4,8] b, float[n,2,4,8] c) {
            a = Attention(q, k, v)  b = Attention(q, k, v, m)  c = Attention<scale = 0.5>(q, k, v, f) }"""
        calls = []
        for n in (1, 3):
            mask = np.random.default_rng(n).random((n, 1, 4, 6)) < 0.6
            mask[0, 0, 1] = False
            tensors = {"q": numbers(n, 2, 4, 8), "k": numbers(n, 2, 6, 8, seed=1), "v": numbers(n, 2, 6, 8, seed=2)}
            calls.append({**tensors, "m": mask, "f": numbers(4, 6)})
        self.agree(tmp_path, text, *calls, dims=[N])

    def test_heads_of_a_size_that_only_the_input_tells(self, tmp_path: Path) -> None:
        """The scores are divided by its root."""
        text = "(float[1,2,4,n] q) => (float[1,2,4,n] y) { y = Attention(q, q, q) }"
        self.agree(tmp_path, text, *({"q": numbers(1, 2, 4, n)} for n in (1, 3)), dims=[N])

    def test_causal_with_shared_heads_and_a_cache(self, tmp_path: Path) -> None:
        text = """(float[1,4,s,8] q, float[1,2,s,8] k, float[1,2,s,8] v, float[1,2,3,8] pk, float[1,2,3,8] pv) =>
            (float[1,4,s,8] a, float[1,4,s,8] b, float[1,2,t,8] nk, float[1,2,t,8] nv) {
            a = Attention<is_causal = 1>(q, k, v)  b, nk, nv = Attention<is_causal = 1>(q, k, v, , pk, pv) }"""
        calls = [
            {
                "q": numbers(1, 4, s, 8),
                "k": numbers(1, 2, s, 8, seed=1),
                "v": numbers(1, 2, s, 8, seed=2),
                "pk": numbers(1, 2, 3, 8, seed=3),
                "pv": numbers(1, 2, 3, 8, seed=4),
            }
            for s in (1, 5)
        ]
        self.agree(tmp_path, text, *calls, dims=[Dim("s", 1, 8)])

    def test_softcap_and_scores(self, tmp_path: Path) -> None:
        text = """(float[2,3,16] q, float[2,5,16] k, float[2,5,16] v) => (float[2,3,16] y, float[2,2,3,5] s) {
            y, , , s = Attention<q_num_heads = 2, kv_num_heads = 2, softcap = 2.0,
                                 qk_matmul_output_mode = 3>(q, k, v) }"""
        self.agree(tmp_path, text, {"q": numbers(2, 3, 16), "k": numbers(2, 5, 16, seed=1), "v": numbers(2, 5, 16)})

    @pytest.mark.parametrize("interleaved", [0, 1])
    def test_rotary_embedding(self, tmp_path: Path, interleaved: int) -> None:
        text = "(float[2,3,4,8] x, float[9,3] c, float[9,3] s, int64[2,4] p) => (float[2,3,4,8] y) {"
        text += f" y = RotaryEmbedding<interleaved = {interleaved}, rotary_embedding_dim = 6>(x, c, s, p) }}"
        positions = np.array([[0, 1, 2, 3], [5, 6, 7, 8]])
        self.agree(tmp_path, text, {"x": numbers(2, 3, 4, 8), "c": numbers(9, 3), "s": numbers(9, 3), "p": positions})


class TestResize(Agreement):
    @pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
    @pytest.mark.parametrize("place", ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"])
    def test_modes(self, tmp_path: Path, mode: str, place: str) -> None:
        text = f"""(float[1,2,5,4] x) => (float[1,2,10,7] y, float[1,2,3,3] z)
            <int64[4] up = {{1, 2, 10, 7}}, int64[4] down = {{1, 2, 3, 3}}> {{
            y = Resize<mode = "{mode}", coordinate_transformation_mode = "{place}">(x, , , up)
            z = Resize<mode = "{mode}", coordinate_transformation_mode = "{place}">(x, , , down) }}"""
        self.agree(tmp_path, text, {"x": numbers(1, 2, 5, 4)})

    @pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
    @pytest.mark.parametrize("place", ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"])
    def test_a_dynamic_height(self, tmp_path: Path, mode: str, place: str) -> None:
        how = f'mode = "{mode}", coordinate_transformation_mode = "{place}"'
        text = f"""(float[1,1,n,4] x) => (float[1,1,m,8] y, float[1,1,3,4] z)
            <float[4] scales = {{1.0, 1.0, 2.0, 2.0}}, int64[4] sizes = {{1, 1, 3, 4}}> {{
            y = Resize<{how}>(x, , scales)  z = Resize<{how}>(x, , , sizes) }}"""
        self.agree(tmp_path, text, *[{"x": numbers(1, 1, n, 4)} for n in (1, 2, 4)], dims=[N])

    def test_antialiased(self, tmp_path: Path) -> None:
        text = """(float[1,1,8,8] x) => (float[1,1,3,5] y) <int64[4] sizes = {1, 1, 3, 5}> {
            y = Resize<mode = "linear", antialias = 1>(x, , , sizes) }"""
        self.agree(tmp_path, text, {"x": numbers(1, 1, 8, 8)})


class TestControlFlow(Agreement):
    def test_branches_of_different_sizes(self, tmp_path: Path) -> None:
        text = """(float[4] x, bool flag) => (float[k] y, float[k] z) <int64[1] zero = {0}, int64[1] two = {2}> {
            y = If(flag) <then_branch = a () => (float[2] p) { p = Slice(x, zero, two) },
                          else_branch = b () => (float[4] q) { q = Neg(x) }>
            z = Add(y, y) }"""
        self.agree(tmp_path, text, *[{"x": numbers(4), "flag": np.array(flag)} for flag in (True, False)])

    def test_a_loop_of_known_length(self, tmp_path: Path) -> None:
        text = """(float[2] x) => (float[2] y, float[3,2] all) <int64 three = {3}, bool yes = {1}> {
            y, all = Loop(three, yes, x) <body = b (int64 i, bool c, float[2] s) => (bool d, float[2] t, float[2] u) {
                d = Identity(c)  f = Cast<to = 1>(i)  t = Add(s, f)  u = Mul(t, s) }> }"""
        self.agree(tmp_path, text, {"x": numbers(2)})

    def test_a_scan(self, tmp_path: Path) -> None:
        text = """(float[2] h, float[4,2] x) => (float[2] y, float[4,2] all) {
            y, all = Scan<num_scan_inputs = 1, body = b (float[2] s, float[2] e) => (float[2] t, float[2] u) {
                t = Add(s, e)  u = Identity(t) }>(h, x) }"""
        self.agree(tmp_path, text, {"h": numbers(2), "x": numbers(4, 2)})
