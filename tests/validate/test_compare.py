"""The comparator compared: honest rounding passes, every planted fault fails."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

from compiler.cases import Case
from compiler.contracts import Array
from compiler.validate.compare import compare
from compiler.verdicts import OutputVerdict, Verdict

DTYPES = {"float32": np.float32, "float64": np.float64, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
FLOATS = sorted(DTYPES)
CASES, SIDE = 3, 16


def product(x: Array, w: Array, dtype: type, order: Array | None = None, block: int | None = None) -> Array:
    """x @ w as an honest runtime may compute it: in this type or a wider one, its terms in any order, in any blocks."""
    wide = np.float32 if np.dtype(dtype).itemsize == 2 else dtype
    x, w = x.astype(wide), w.astype(wide)
    if order is not None:
        x, w = np.ascontiguousarray(x[:, order]), np.ascontiguousarray(w[order])
    step = block or x.shape[1]
    parts = [x[:, at : at + step] @ w[at : at + step] for at in range(0, x.shape[1], step)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total.astype(dtype)


def drawn(dtype: type, length: int = 64, seed: int = 0) -> list[tuple[Array, Array]]:
    rng = np.random.default_rng(seed)
    return [
        (rng.standard_normal((SIDE, length)).astype(dtype), rng.standard_normal((length, SIDE)).astype(dtype))
        for _ in range(CASES)
    ]


def case(outputs: dict[str, Array], oracle: dict[str, Array] | None = None, name: str = "case") -> Case:
    return Case(name, {}, {}, outputs, outputs if oracle is None else oracle)


def reference(dtype: type, length: int = 64, seed: int = 0) -> list[Case]:
    return [
        case(
            {"y": product(x, w, dtype), "ids": np.argsort(product(x, w, dtype).astype(np.float64), axis=-1)},
            {
                "y": x.astype(np.float64) @ w.astype(np.float64),
                "ids": np.argsort(x.astype(np.float64) @ w.astype(np.float64), axis=-1),
            },
            f"case {number}",
        )
        for number, (x, w) in enumerate(drawn(dtype, length, seed))
    ]


def only_y(cases: list[Case]) -> list[Case]:
    return [case({"y": one.outputs["y"]}, {"y": one.oracle["y"]}, one.name) for one in cases]


def faulty(cases: list[Case], change: Callable[[Array], Array], at: int = 1) -> Verdict:
    """The verdict on answers that are PyTorch's own but for one changed output of one case."""
    answers = [dict(one.outputs) for one in cases]
    answers[at]["y"] = change(answers[at]["y"].copy())
    return compare(cases, answers)


def failure(verdict: Verdict, output: str = "y") -> OutputVerdict:
    assert verdict.status == "failed"
    (bad,) = [one for one in verdict.outputs if not one.passed]
    assert bad.output == output
    assert bad.used > 1
    return bad


# -- honest -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
def test_pytorchs_own_answer_passes(dtype: str) -> None:
    cases = reference(DTYPES[dtype])
    verdict = compare(cases, [one.outputs for one in cases])
    assert verdict.passed
    assert verdict.cases == CASES


def test_the_error_of_all_elements_is_counted_in_the_models_own_rounding() -> None:
    """An answer that is PyTorch's own is one unit off, and one that is three times as far off is three."""
    cases = only_y(reference(np.float32))
    (own,) = compare(cases, [one.outputs for one in cases]).outputs
    farther = [{"y": (one.oracle["y"] + 3 * (one.outputs["y"] - one.oracle["y"])).astype(np.float32)} for one in cases]
    (off,) = compare(cases, farther).outputs
    assert own.rms == pytest.approx(1, rel=1e-6)
    assert off.rms == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("length", [3, 64, 1024])
@pytest.mark.parametrize("seed", range(5))
def test_terms_in_another_order_pass(dtype: str, length: int, seed: int) -> None:
    cases = only_y(reference(DTYPES[dtype], length, seed))
    rng = np.random.default_rng(seed)
    shuffled, blocks = [], []
    for x, w in drawn(DTYPES[dtype], length, seed):
        shuffled.append({"y": product(x, w, DTYPES[dtype], order=rng.permutation(length))})
        blocks.append({"y": product(x, w, DTYPES[dtype], block=16)})
    for answers in (shuffled, blocks):
        verdict = compare(cases, answers)
        assert verdict.passed, verdict.worst
        assert verdict.outputs[0].used < 1


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_a_single_number_per_case_is_neither_refused_by_luck_nor_let_through_in_bfloat16(count: int) -> None:
    """A unit that so few numbers tell can be small by accident: 3 % of the honest answers over two cases were."""
    rng, refused, caught = np.random.default_rng(0), 0, 0
    trials = 300
    for _ in range(trials):
        x, w = rng.standard_normal((2, count, 64)).astype(np.float32)
        wide = (x.astype(np.float64) * w.astype(np.float64)).sum(-1)
        own = (x * w).reshape(count, 4, 16).sum(1, dtype=np.float32).sum(-1, dtype=np.float32)
        serial = np.add.accumulate((x * w)[:, rng.permutation(64)], axis=-1, dtype=np.float32)[:, -1]
        cases = [case({"y": own[[at]]}, {"y": wide[[at]]}) for at in range(count)]
        refused += not compare(cases, [{"y": serial[[at]]} for at in range(count)]).passed
        caught += not compare(cases, [{"y": through(ml_dtypes.bfloat16)(own[[at]])} for at in range(count)]).passed
    assert refused == 0
    assert caught >= 0.95 * trials


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_wider_type_inside_passes(dtype: str) -> None:
    """Many runtimes add up half precision in single; that is closer to the truth, not further away."""
    cases = only_y(reference(DTYPES[dtype]))
    answers = [{"y": one.oracle["y"].astype(DTYPES[dtype])} for one in cases]
    assert compare(cases, answers).passed


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e30])
def test_the_scale_of_an_output_does_not_matter(scale: float) -> None:
    factor = np.float32(scale)
    cases = [
        case({"y": one.outputs["y"] * factor}, {"y": one.oracle["y"] * np.float64(factor)})
        for one in only_y(reference(np.float32))
    ]
    for number, one in enumerate(drawn(np.float32)):
        answers = [dict(case.outputs) for case in cases]
        answers[number]["y"] = product(*one, np.float32, block=8) * factor
        assert compare(cases, answers).passed
        answers[number]["y"] = answers[number]["y"].astype(ml_dtypes.bfloat16).astype(np.float32)
        failure(compare(cases, answers))


def test_a_softmax_in_another_formulation_passes() -> None:
    cases, answers = [], []
    for number in range(CASES):
        x = np.random.default_rng(number).standard_normal((8, 50)).astype(np.float32) * 5
        wide = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
        shifted = np.exp(x - x.max(-1, keepdims=True))
        plain = np.exp(x)
        cases.append(case({"y": shifted / shifted.sum(-1, keepdims=True)}, {"y": wide / wide.sum(-1, keepdims=True)}))
        answers.append({"y": plain / plain.sum(-1, keepdims=True)})
    assert compare(cases, answers).passed


@pytest.mark.parametrize("dtype", ["int64", "bool", "uint8", "int8"])
def test_equal_integers_pass(dtype: str) -> None:
    values = np.array([0, 1, 2**62, -1]).astype(dtype)
    verdict = compare([case({"y": values})], [{"y": values.copy()}])
    assert (verdict.passed, verdict.outputs[0].why) == (True, "exact")


def test_special_values_in_their_places_pass() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 1.0], np.float32)
    assert compare([case({"y": values})], [{"y": values.copy()}]).passed


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,)])
def test_any_shape_can_pass(shape: tuple[int, ...]) -> None:
    values = np.ones(shape, np.float32)
    assert compare([case({"y": values})], [{"y": values}]).passed


def test_complex_numbers_pass() -> None:
    rng = np.random.default_rng(0)
    exact = rng.standard_normal(100) + 1j * rng.standard_normal(100)
    torch = exact.astype(np.complex64)
    cases = [case({"y": torch}, {"y": exact})]
    assert compare(cases, [{"y": (exact * (1 + 3e-8)).astype(np.complex64)}]).passed


# -- planted faults: numbers ------------------------------------------------------------------------------------


def one_element(y: Array) -> Array:
    y[5, 7] = y[5, 7] * y.dtype.type(1.25) + y.dtype.type(0.125)
    return y


FAULTS: dict[str, Callable[[Array], Array]] = {
    "one element": one_element,
    "two elements exchanged": lambda y: np.concatenate([y[:1, ::-1], y[1:]]),
    "transposed": lambda y: np.ascontiguousarray(y.T),
    "rows rolled": lambda y: np.roll(y, 1, axis=0),
    "one row repeated": lambda y: np.concatenate([y[:1], y[:1], y[2:]]),
    "sign": lambda y: -y,
    "all zero": np.zeros_like,
    "scaled": lambda y: (y.astype(np.float64) * 1.1).astype(y.dtype),
    "shifted": lambda y: (y.astype(np.float64) + 0.5).astype(y.dtype),
    "clipped": lambda y: np.maximum(y, y.dtype.type(0)),
    "NaN for a number": lambda y: np.where(np.arange(y.size).reshape(y.shape) == 37, y.dtype.type(np.nan), y),
    "infinity for a number": lambda y: np.where(np.arange(y.size).reshape(y.shape) == 37, y.dtype.type(np.inf), y),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("at", range(CASES))
def test_a_wrong_number_fails(dtype: str, fault: str, at: int) -> None:
    bad = failure(faulty(reference(DTYPES[dtype]), FAULTS[fault], at))
    assert bad.case == f"case {at}"
    assert bad.worst is not None
    assert bad.why


def through(dtype: type) -> Callable[[Array], Array]:
    return lambda y: y.astype(dtype).astype(y.dtype)


@pytest.mark.parametrize(
    ("dtype", "hidden"),
    [
        ("float64", np.float32),
        ("float64", np.float16),
        ("float32", np.float16),
        ("float32", ml_dtypes.bfloat16),
        ("float16", ml_dtypes.bfloat16),
        ("bfloat16", ml_dtypes.float8_e4m3fn),
    ],
)
def test_a_hidden_lower_precision_fails(dtype: str, hidden: type) -> None:
    cases = reference(DTYPES[dtype])
    answers = [{**one.outputs, "y": through(hidden)(one.outputs["y"])} for one in cases]
    failure(compare(cases, answers))


def test_tf32_inside_fails() -> None:
    """Ten bits of the operands, everything else in float32: what a GPU does to a matmul that nobody watches."""

    def tf32(array: Array) -> Array:
        return (array.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)

    cases = only_y(reference(np.float32))
    answers = [{"y": product(tf32(x), tf32(w), np.float32)} for x, w in drawn(np.float32)]
    failure(compare(cases, answers))


def test_a_drift_of_every_element_fails_where_no_single_one_would() -> None:
    cases = only_y(reference(np.float32, length=256))
    units = np.sqrt(np.mean([(one.outputs["y"] - one.oracle["y"]) ** 2 for one in cases]))
    answers = [{"y": (one.oracle["y"] + 16 * units).astype(np.float32)} for one in cases]
    bad = failure(compare(cases, answers))
    assert "all elements together" in bad.why


def test_the_worst_element_is_shown() -> None:
    cases = reference(np.float32)
    bad = failure(faulty(cases, one_element))
    assert bad.worst is not None
    assert bad.worst.index == (5, 7)
    assert bad.worst.want == cases[1].oracle["y"][5, 7]
    assert bad.worst.got == float(one_element(cases[1].outputs["y"].copy())[5, 7])
    assert bad.error == abs(bad.worst.got - bad.worst.want)


@pytest.mark.parametrize(
    ("want", "got"),
    [
        ([1.0, np.nan], [1.0, 2.0]),
        ([1.0, np.inf], [1.0, -np.inf]),
        ([1.0, -np.inf], [1.0, np.inf]),
        ([1.0, np.inf], [1.0, 3.4e38]),
        ([1.0, np.inf], [1.0, np.nan]),
        ([1.0, np.nan], [1.0, np.inf]),
        ([1.0, 3.4e38], [1.0, np.inf]),
        ([1.0, 2.0], [np.nan, 2.0]),
    ],
)
def test_a_wrong_special_value_fails(want: list[float], got: list[float]) -> None:
    with np.errstate(invalid="ignore"):
        cases = [case({"y": np.array(want, np.float32)})]
        failure(compare(cases, [{"y": np.array(got, np.float32)}]))


def test_anything_but_zero_fails_where_all_is_zero() -> None:
    zeros = np.zeros((2, 3), np.float32)
    wrong = zeros.copy()
    wrong[1, 2] = 1e-30
    assert compare([case({"y": zeros})], [{"y": -zeros}]).passed
    bad = failure(compare([case({"y": zeros})], [{"y": wrong}]))
    assert bad.worst is not None
    assert bad.worst.index == (1, 2)


@pytest.mark.parametrize("part", ["real", "imaginary", "conjugated"])
def test_a_wrong_complex_number_fails(part: str) -> None:
    values = (np.arange(1, 9) + 1j * np.arange(2, 10)).astype(np.complex64)
    wrong = {"real": values + 0.1, "imaginary": values + 0.1j, "conjugated": values.conj()}[part]
    failure(compare([case({"y": values})], [{"y": wrong.astype(np.complex64)}]))


def test_a_number_without_axes_can_fail() -> None:
    bad = failure(compare([case({"y": np.float32(3) * np.ones(())})], [{"y": np.ones(())}]))
    assert bad.worst is not None
    assert (bad.worst.index, bad.worst.got, bad.worst.want) == ((), 1, 3)


@pytest.mark.parametrize(
    ("dtype", "want", "got"),
    [
        ("int64", [1, 2, 3], [1, 2, 4]),
        ("int64", [2**53, 0, 0], [2**53 + 1, 0, 0]),
        ("uint8", [0, 255, 7], [0, 254, 7]),
        ("int32", [-1, 0, 1], [1, 0, -1]),
        ("bool", [True, False, True], [True, True, True]),
    ],
)
def test_an_integer_that_is_off_by_one_fails(dtype: str, want: list[int], got: list[int]) -> None:
    cases = [case({"y": np.array(want, dtype)})]
    bad = failure(compare(cases, [{"y": np.array(got, dtype)}]))
    assert "must be exact" in bad.why
    assert bad.worst is not None


def test_a_wrong_string_fails() -> None:
    failure(compare([case({"y": np.array(["a", "b"])})], [{"y": np.array(["a", "c"])}]))


# -- planted faults: what is there ------------------------------------------------------------------------------


def test_a_missing_output_fails() -> None:
    cases = reference(np.float32)
    answers = [dict(one.outputs) for one in cases]
    del answers[2]["y"]
    assert failure(compare(cases, answers)).why == "the output is missing"


def test_an_output_too_many_fails() -> None:
    cases = reference(np.float32)
    answers = [{**one.outputs, "extra": np.zeros(1)} for one in cases]
    assert failure(compare(cases, answers), "extra").why == "the model has no such output"


def test_outputs_under_each_others_names_fail() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 4, 4)).astype(np.float32)
    verdict = compare([case({"a": a, "b": b})], [{"a": b, "b": a}])
    assert [one.passed for one in verdict.outputs] == [False, False]


def test_the_order_of_outputs_is_of_no_matter_where_names_agree() -> None:
    a, b = np.arange(3, dtype=np.float32), np.arange(3)
    assert compare([case({"a": a, "b": b})], [{"b": b, "a": a}]).passed


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("other", [*FLOATS, "int64"])
def test_another_dtype_fails(dtype: str, other: str) -> None:
    cases = [case({"y": np.ones((2, 2), DTYPES[dtype])})]
    answer = np.ones((2, 2), DTYPES.get(other, np.int64))
    verdict = compare(cases, [{"y": answer}])
    if dtype == other:
        assert verdict.passed
    else:
        assert failure(verdict).why == f"its dtype is {other}, not {dtype}"


@pytest.mark.parametrize("shape", [(4, 1), (2,), (2, 2, 1), (1, 2, 2), (), (0, 2)])
def test_another_shape_fails_even_where_it_would_broadcast(shape: tuple[int, ...]) -> None:
    verdict = compare([case({"y": np.ones((2, 2), np.float32)})], [{"y": np.ones(shape, np.float32)}])
    assert failure(verdict).why == f"its shape is {shape}, not (2, 2)"


def test_an_answer_too_few_is_never_overlooked() -> None:
    cases = reference(np.float32)
    with pytest.raises(ValueError, match="shorter"):
        compare(cases, [one.outputs for one in cases[1:]])


def test_what_is_no_number_on_either_side_proves_nothing() -> None:
    nothing = {"y": np.full((4, 8), np.nan, np.float32)}
    verdict = compare([case(nothing)], [nothing])
    assert verdict.passed
    assert verdict.outputs[0].why == "no finite elements to compare"
    assert verdict.notes == ("'y': PyTorch itself gives no finite number for it, so this verdict proves nothing",)
    empty = {"y": np.zeros((0, 8), np.float32)}
    assert compare([case(empty)], [empty]).notes == ()
