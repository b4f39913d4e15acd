"""The grammar of --input."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.contracts import DTYPES, Dim, TensorSpec
from compiler.errors import UsageError
from compiler.frontend.specs import EXAMPLE, parse


def one(text: str) -> TensorSpec:
    (spec,) = parse([text]).tensors
    return spec


@pytest.mark.parametrize(
    ("text", "dims"),
    [
        ("x:float32", ()),
        ("x:float32[]", ()),
        ("x:float32[ ]", ()),
        ("x:float32[3]", (3,)),
        ("x:float32[0,2]", (0, 2)),
        ("x:float32[2, 3 ,4]", (2, 3, 4)),
        ("  x:float32[2]  ", (2,)),
        ("x:float32[n=1..8]", (Dim("n", 1, 8),)),
        ("x:float32[n=0..8]", (Dim("n", 0, 8),)),
        ("x:float32[h=32*2..16]", (Dim("h", 64, 512, 32),)),
        ("x:float32[n=1..8,n]", (Dim("n", 1, 8), Dim("n", 1, 8))),
        ("x:float32[n,n=1..8]", (Dim("n", 1, 8), Dim("n", 1, 8))),
        ("x:float32[n=4]", (4,)),
        ("x:float32[n=4..4]", (4,)),
        ("x:float32[h=32*4]", (128,)),
        ("x:float32[n=4,n]", (4, 4)),
    ],
)
def test_dims(text: str, dims: tuple[object, ...]) -> None:
    assert one(text) == TensorSpec("x", "float32", dims)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_of_the_vocabulary(dtype: str) -> None:
    assert one(f"x:{dtype}[2]").dtype == dtype


@pytest.mark.parametrize("name", ["x", "_x1", "cache.0", "cache.0.key", "state.hidden_1"])
def test_names_may_be_nested(name: str) -> None:
    assert one(f"{name}:int64[2]").name == name


def test_one_dim_is_shared_by_inputs_wherever_its_range_stands() -> None:
    specs = parse(["ids:int64[batch,seq=8..64]", "mask:int64[batch=1..16,seq]"]).tensors
    assert [spec.dims for spec in specs] == [(Dim("batch", 1, 16), Dim("seq", 8, 64))] * 2


def test_the_same_range_may_be_said_twice() -> None:
    assert len(parse(["a:int64[n=1..4]", "b:int64[n=1..4]"]).tensors) == 2


def test_equal_ranges_of_two_dims_stay_two_dims() -> None:
    assert one("x:float32[a=1..4,b=1..4]").dynamic == (Dim("a", 1, 4), Dim("b", 1, 4))


def test_the_order_of_the_command_line_is_kept() -> None:
    assert [spec.name for spec in parse(["b:int64", "a:int64", "c:int64"]).tensors] == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("k=3", 3),
        ("k=-3", -3),
        ("k=0.5", 0.5),
        ("k=1e-3", 1e-3),
        ("k=True", True),
        ("k=None", None),
        ("k='a b'", "a b"),
        ("k=nearest", "nearest"),
        ("k= 3 ", 3),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    found = parse([text]).constants
    assert found == {"k": value}
    assert type(found["k"]) is type(value)


def test_nothing_is_nothing() -> None:
    assert (parse([]).tensors, parse([]).constants) == ((), {})


@pytest.mark.parametrize(
    ("texts", "says", "hint"),
    [
        (["x"], "cannot read the input spec 'x'", EXAMPLE),
        ([""], "cannot read the input spec ''", EXAMPLE),
        (["x:"], "cannot read", EXAMPLE),
        ([":float32[2]"], "cannot read", EXAMPLE),
        (["x:float32[2"], "cannot read", EXAMPLE),
        (["x:float32 2]"], "cannot read", EXAMPLE),
        (["x:float32[[2]]"], "cannot read", EXAMPLE),
        (["1x:float32[2]"], "cannot read", EXAMPLE),
        (["x..y:float32[2]"], "cannot read", EXAMPLE),
        (["x:float32[2] y:float32[3]"], "cannot read", EXAMPLE),
        (["x:flaot32[2]"], "'flaot32' is no element type", "did you mean 'float32'?"),
        (["x:quaternion[2]"], "'quaternion' is no element type", "one of float32"),
        (["x:float32[-1]"], "cannot read the dim '-1'", "batch=1..32"),
        (["x:float32[2,,3]"], "cannot read the dim ''", "batch=1..32"),
        (["x:float32[2.5]"], "cannot read the dim '2.5'", "batch=1..32"),
        (["x:float32[n=1..]"], "cannot read the dim 'n=1..'", "batch=1..32"),
        (["x:float32[n=..4]"], "cannot read the dim 'n=..4'", "batch=1..32"),
        (["x:float32[n=a..b]"], "cannot read the dim", "batch=1..32"),
        (["x:float32[n=8..1]"], "the range of 'n' ends below its start: 8..1", "did you mean n=1..8?"),
        (["x:float32[h=0*1..4]"], "the step of 'h' is 0", None),
        (["x:float32[n]"], "dim 'n' has no range", "write n=1..8"),
        (["x:float32[batch=1..4,bacth]"], "dim 'bacth' has no range", "did you mean 'batch'?"),
        (
            ["x:float32[n=1..4]", "y:float32[n=1..5]"],
            "dim 'n' has two ranges: n=1..4 and n=1..5",
            "give the range once",
        ),
        (["x:float32[n=1..4,n=2]"], "dim 'n' has two ranges: n=1..4 and 2", "give the range once"),
        (["x:float32[2]", "x:float32[2]"], "input 'x' is given twice", "give each --input once"),
        (["x=1", "x:float32[2]"], "input 'x' is given twice", "give each --input once"),
        (["x:float32[2]", "x=1"], "input 'x' is given twice", "give each --input once"),
        (["x=1", "x=2"], "input 'x' is given twice", "give each --input once"),
        (["k=(1,2)"], "'(1,2)' is no Python scalar", EXAMPLE),
        (["k={}"], "'{}' is no Python scalar", EXAMPLE),
        (["k=2j"], "'2j' is no Python scalar", EXAMPLE),
    ],
)
def test_what_cannot_be_meant_is_told(texts: list[str], says: str, hint: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        parse(texts)
    assert (caught.value.code, caught.value.exit_code) == ("bad-input-spec", 2)
    assert says in caught.value.message
    assert hint is None or hint in str(caught.value.hint)


def test_a_scalar_never_runs_code() -> None:
    assert parse(["k=__import__('os').getcwd()"]).constants == {"k": "__import__('os').getcwd()"}


_NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True)
_DIMS = st.one_of(
    st.integers(0, 10**6),
    st.builds(
        lambda name, lo, more, step: Dim(name, lo * step, (lo + more) * step, step),
        _NAMES,
        st.integers(0, 1000),
        st.integers(1, 1000),
        st.integers(1, 64),
    ),
)


@settings(derandomize=True, max_examples=200)
@given(
    st.builds(TensorSpec, _NAMES, st.sampled_from(DTYPES), st.lists(_DIMS, max_size=5).map(tuple)).filter(
        lambda spec: len({dim.name: dim for dim in spec.dynamic}) == len(spec.dynamic)
    )
)
def test_a_spec_reads_back_from_what_it_shows(spec: TensorSpec) -> None:
    assert one(str(spec)) == spec


@settings(derandomize=True, max_examples=300)
@given(st.text(alphabet="xn:=.*,[]0123456789float int_-' ", max_size=25))
def test_any_text_is_read_or_refused_in_one_voice(text: str) -> None:
    try:
        found = parse([text])
    except UsageError as error:
        assert error.code == "bad-input-spec"
    else:
        assert len(found.tensors) + len(found.constants) == 1
