"""Inputs that the model can make sense of, and inputs that somebody handed over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

from compiler.contracts import DTYPES, Dim, Source, TensorSpec, dtype_name
from compiler.errors import UsageError
from compiler.frontend import graph_ranges
from compiler.frontend.examples import check_inputs, draw, example_inputs, numpy_dtype, read_inputs, specs_of
from compiler.frontend.program import InputRange
from compiler.frontend.reference import ReferencePlan
from compiler.frontend.specs import parse
from compiler.frontend.torch_program import TorchProgram

SIZES = {"n": 5}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# -- drawing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype != "string"])
@pytest.mark.parametrize("dims", [(), (0,), (Dim("n", 1, 8), 3)])
def test_every_dtype_and_shape_can_be_drawn(dtype: str, dims: tuple[Any, ...]) -> None:
    array = draw(TensorSpec("x", dtype, dims), SIZES, None, rng())
    assert array.shape == tuple(5 if isinstance(dim, Dim) else dim for dim in dims)
    assert dtype_name(array.dtype) == dtype
    assert array.dtype == numpy_dtype(dtype)


def test_floats_are_ordinary() -> None:
    array = draw(TensorSpec("x", "float32", (1000,)), {}, None, rng())
    assert abs(array.mean()) < 0.2
    assert 0.8 < array.std() < 1.2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_what_goes_under_a_root_is_not_negative(dtype: str) -> None:
    array = draw(TensorSpec("x", dtype, (1000,)), {}, InputRange(lo=0), rng())
    assert (array.astype(np.float64) >= 0).all()


@pytest.mark.parametrize(("rows", "top"), [(7, 7), (1, 1), ("n", 5)])
def test_an_index_stays_below_its_rows_and_reaches_them(rows: int | str, top: int) -> None:
    array = draw(TensorSpec("x", "int64", (1000,)), SIZES, InputRange(0, rows), rng())
    assert (array.min(), array.max()) == (0, top - 1)


def test_an_index_into_more_rows_than_its_type_can_name() -> None:
    array = draw(TensorSpec("x", "uint8", (1000,)), {}, InputRange(0, 50_000), rng())
    assert array.max() == 254


@pytest.mark.parametrize("dtype", ["int64", "int32", "bool", "uint8"])
def test_an_integer_nobody_restricts_is_a_mask_like_padding(dtype: str) -> None:
    array = draw(TensorSpec("mask", dtype, (50, 9)), {}, None, rng()).astype(np.int64)
    assert set(np.unique(array)) == {0, 1}
    assert (array[:, 0] == 1).all()
    assert (np.diff(array, axis=1) <= 0).all()
    assert len(set(array.sum(1))) > 5


def test_the_same_seed_gives_the_same_inputs() -> None:
    specs = parse(["x:float32[n=1..8,3]", "ids:int64[n]"]).tensors
    plan = ReferencePlan(specs, {"ids": InputRange(0, 100)}, seed=3)
    once, again = plan.inputs({"n": 4}, 0), plan.inputs({"n": 4}, 0)
    assert all(once[name].tobytes() == again[name].tobytes() for name in once)


@pytest.mark.parametrize(
    ("sizes", "draw_number", "seed"),
    [({"n": 5}, 0, 3), ({"n": 4}, 1, 3), ({"n": 4}, 0, 4)],
    ids=["size", "draw", "seed"],
)
def test_another_case_gets_other_inputs(sizes: dict[str, int], draw_number: int, seed: int) -> None:
    specs = parse(["x:float32[n=1..8,3]"]).tensors
    one = ReferencePlan(specs, {}, seed=3).inputs({"n": 4}, 0)["x"]
    other = ReferencePlan(specs, {}, seed=seed).inputs(sizes, draw_number)["x"]
    assert not np.array_equal(one[:4], other[:4])


def test_example_inputs_fit_their_specs() -> None:
    specs = parse(["x:float32[n=1..8,h=4*1..8,3]", "mask:bool[n]"]).tensors
    sizes = check_inputs(example_inputs(specs), specs)
    assert sizes["n"] != sizes["h"]


# -- what the graph says ----------------------------------------------------------------------------------------


class Model(nn.Module):
    """A forward made from a function, so that a test can be read in one place."""

    def __init__(self, forward: Any, **modules: nn.Module) -> None:
        super().__init__()
        self._function = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self._function(self, x)
        return result


def ranges(forward: Any, spec: str, **modules: nn.Module) -> InputRange | None:
    program = TorchProgram(Source("", "test", ""), Model(forward, **modules))
    specs = parse([spec]).tensors
    program.trace(specs, example_inputs(specs), {})
    return program.ranges().get("x")


TABLE = torch.arange(33.0).reshape(11, 3)


@pytest.mark.parametrize(
    ("forward", "hi"),
    [
        (lambda self, x: self.table(x), 11),
        (lambda self, x: self.table(x.unsqueeze(1).reshape(-1).to(torch.int64)), 11),
        (lambda self, x: self.table(x[:2]), 11),
        (lambda self, x: self.bag(x, torch.zeros(1, dtype=torch.int64)), 11),
        (lambda self, x: TABLE[x], 11),
        (lambda self, x: TABLE.index_select(0, x), 11),
        (lambda self, x: TABLE[:, 1].gather(0, x), 11),
        (lambda self, x: torch.nn.functional.one_hot(x, 7), 7),
        (lambda self, x: self.table(x) + self.small(x), 5),
        (lambda self, x: self.small(x) + self.table(x), 5),
        (lambda self, x: torch.zeros(9).scatter_add(0, x, torch.ones(4)), 9),
        (lambda self, x: torch.zeros(9, 2).index_add(0, x, torch.ones(4, 2)), 9),
        (lambda self, x: torch.zeros(9).index_put((x,), torch.ones(4)), 9),
        (lambda self, x: TABLE[torch.tensor([1]), x % 3], None),
    ],
)
def test_rows_that_an_index_selects_from(forward: Any, hi: int | None) -> None:
    found = ranges(
        forward, "x:int64[4]", table=nn.Embedding(11, 3), small=nn.Embedding(5, 3), bag=nn.EmbeddingBag(11, 3)
    )
    assert (found.hi if found else None) == hi


def test_rows_that_are_as_many_as_a_dim() -> None:
    class Pick(nn.Module):
        def forward(self, data: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            return data[x]

    program = TorchProgram(Source("", "test", ""), Pick())
    specs = parse(["data:float32[n=2..9,3]", "x:int64[m=2..5]"]).tensors
    program.trace(specs, example_inputs(specs), {})
    assert program.ranges()["x"].hi == "n"
    inputs = ReferencePlan(specs, program.ranges()).inputs({"n": 3, "m": 200}, 0)
    assert set(inputs["x"].tolist()) == {0, 1, 2}


@pytest.mark.parametrize("name", ["sqrt", "log", "rsqrt", "log2"])
def test_what_feeds_a_root_or_a_logarithm(name: str) -> None:
    found = ranges(lambda self, x: getattr(torch, name)(x.reshape(-1)), "x:float32[2,2]")
    assert found is not None
    assert found.lo == 0
    assert name in found.why


def test_what_nobody_restricts() -> None:
    assert ranges(lambda self, x: x + 1, "x:int64[4]") is None
    assert ranges(lambda self, x: torch.sqrt(x * x), "x:float32[4]") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(int64[4] x) => (float[4,3] y) <W> { y = Gather(w, x) }", InputRange(0, 11, "indexes 11 rows in Gather")),
        ("(int32[4] x) => (float[4,3] y) <W> { i = Cast<to = 7>(x)  y = Gather(w, i) }",
         InputRange(0, 11, "indexes 11 rows in Gather")),
        ("(int64[4] x) => (float[11,4] y) <W> { y = Gather<axis = 1>(w, x) }",
         InputRange(0, 3, "indexes 3 rows in Gather")),
        ("(float[4] x) => (float[4] y) { y = Sqrt(x) }", InputRange(0, None, "goes into Sqrt")),
        ("(float[4] x) => (float[4] y) { y = Relu(x) }", None),
    ],
)  # fmt: skip
def test_an_onnx_graph_is_read_alike(text: str, expected: InputRange | None) -> None:
    text = text.replace("<W>", f"<float[11,3] w = {{{','.join('0' * 33)}}}>")
    model = ir.from_proto(onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> g {text}'))
    assert graph_ranges.of_onnx(model).get("x") == expected


# -- data that somebody handed over -----------------------------------------------------------------------------


def test_npz_and_safetensors_are_read(tmp_path: Path) -> None:
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "cache.0": np.array(3)}
    np.savez(tmp_path / "data.npz", **arrays)
    save_file(arrays, tmp_path / "data.safetensors")
    for name in ("data.npz", "data.safetensors"):
        found = read_inputs(tmp_path / name)
        assert {key: (array.dtype, array.tolist()) for key, array in found.items()} == {
            key: (array.dtype, array.tolist()) for key, array in arrays.items()
        }


def test_bfloat16_comes_through_safetensors(tmp_path: Path) -> None:
    x = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
    from safetensors.torch import save_file as save_torch_file

    save_torch_file({"x": x}, tmp_path / "data.safetensors")
    found = read_inputs(tmp_path / "data.safetensors")["x"]
    assert dtype_name(found.dtype) == "bfloat16"
    assert found.astype(np.float64).tolist() == [1.5, -2.0]


def test_the_other_byte_order_becomes_this_machines(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.array([1, 2], ">i8"))
    found = read_inputs(tmp_path / "data.npz")["x"]
    assert found.dtype.isnative
    assert found.tolist() == [1, 2]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"just text", b"\x80\x04."])
@pytest.mark.parametrize("name", ["data.npz", "data.safetensors", "data"])
def test_a_file_without_arrays_is_told(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_inputs(tmp_path / name)
    assert caught.value.code == "bad-inputs"


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_inputs(tmp_path / "data.npz")
    assert caught.value.code == "no-such-file"


def test_a_folder_is_no_file_of_arrays(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_inputs(tmp_path)
    assert caught.value.code == "bad-inputs"


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("exploded"),))


def test_a_pickle_inside_an_npz_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("data.npz", x=np.array([Bomb()], dtype=object))
    with pytest.raises(UsageError) as caught:
        read_inputs(Path("data.npz"))
    assert caught.value.code == "bad-inputs"
    assert not Path("exploded").exists()


X = TensorSpec("x", "float32", (Dim("n", 1, 4), 3))
MASK = TensorSpec("mask", "bool", (Dim("n", 1, 4),))
FITTING = {"x": np.zeros((2, 3), np.float32), "mask": np.ones(2, bool)}


def test_inputs_that_fit_tell_their_sizes() -> None:
    assert check_inputs(FITTING, [X, MASK]) == {"n": 2}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"x": FITTING["x"].astype(np.float64)}, "'x' is float64, the model takes float32"),
        ({"x": FITTING["x"].astype(ml_dtypes.bfloat16)}, "'x' is bfloat16"),
        ({"x": np.zeros((2, 4), np.float32)}, "'x' has shape (2, 4)"),
        ({"x": np.zeros((5, 3), np.float32)}, "'x' has shape (5, 3)"),
        ({"x": np.zeros((2, 3, 1), np.float32)}, "'x' has shape (2, 3, 1)"),
        ({"mask": np.ones(3, bool)}, "'mask' has shape (3,)"),
        ({"msk": FITTING["mask"]}, "no input 'msk'"),
    ],
)
def test_inputs_that_do_not_fit_are_told(change: dict[str, np.ndarray], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_inputs({**FITTING, **change}, [X, MASK])
    assert (caught.value.code, caught.value.exit_code) == ("input-mismatch", 2)
    assert says in caught.value.message


def test_a_mistyped_input_gets_a_suggestion_and_a_missing_one_is_named() -> None:
    with pytest.raises(UsageError) as caught:
        check_inputs({"x": FITTING["x"], "maks": FITTING["mask"]}, [X, MASK])
    assert caught.value.hint == "did you mean 'mask'?"
    with pytest.raises(UsageError, match="'mask' is missing"):
        check_inputs({"x": FITTING["x"]}, [X, MASK])


def test_arrays_say_what_they_are() -> None:
    assert specs_of(FITTING) == (TensorSpec("x", "float32", (2, 3)), TensorSpec("mask", "bool", (2,)))
