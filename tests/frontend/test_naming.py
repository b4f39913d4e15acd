"""Names of nested inputs and outputs: stable, readable, and in the order of the leaves."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils import _pytree as pytree
from transformers.modeling_outputs import BaseModelOutputWithPooling

from compiler.errors import UsageError
from compiler.frontend.naming import named_leaves, nest, output_leaves, tensor_outputs

T = torch.zeros(1)
U, V = torch.ones(1), torch.full((1,), 2.0)


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclasses.dataclass
class Record:
    value: Any
    more: Any = None


def names(value: Any) -> list[str]:
    return [name for name, _ in named_leaves(value)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"x": T}, ["x"]),
        ({"x": None, "y": T}, ["y"]),
        ({"cache": ({"key": T, "value": U}, {"key": T, "value": U})},
         ["cache.0.key", "cache.0.value", "cache.1.key", "cache.1.value"]),
        ({"a": [T, None, U]}, ["a.0", "a.2"]),
        ({"p": Pair(T, {"q": U})}, ["p.first", "p.second.q"]),
        ({"r": Record(T, (U,))}, ["r.value", "r.more.0"]),
        ({"d": OrderedDict(b=T, a=U)}, ["d.b", "d.a"]),
        ({"n": 3, "f": 0.5, "s": "nearest", "b": True}, ["n", "f", "s", "b"]),
        ({1: T, 2: U}, ["1", "2"]),
        ({}, []),
        ({"e": ()}, []),
    ],
)  # fmt: skip
def test_names_of_inputs(value: Any, expected: list[str]) -> None:
    assert names(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (T, ["output"]),
        ((T,), ["output"]),
        ([T], ["output"]),
        ((T, U), ["output_0", "output_1"]),
        ((T, None, U), ["output_0", "output_2"]),
        ((T, (U, V)), ["output_0", "output_1.0", "output_1.1"]),
        ({"logits": T}, ["logits"]),
        ({"logits": T, "hidden": (U, V)}, ["logits", "hidden.0", "hidden.1"]),
        (Pair(T, U), ["first", "second"]),
        (Record(T, U), ["value", "more"]),
        (Record(T), ["value"]),
        (BaseModelOutputWithPooling(last_hidden_state=T, pooler_output=U), ["last_hidden_state", "pooler_output"]),
        (BaseModelOutputWithPooling(last_hidden_state=T, hidden_states=(U, V)),
         ["last_hidden_state", "hidden_states.0", "hidden_states.1"]),
    ],
)  # fmt: skip
def test_names_of_outputs(value: Any, expected: list[str]) -> None:
    assert [name for name, _ in output_leaves(value)] == expected


def test_outputs_that_are_no_tensors_are_left_out() -> None:
    assert list(tensor_outputs((T, 3, "text", U))) == ["output_0", "output_3"]


def test_leaves_come_in_the_order_of_pytree() -> None:
    value = {"b": (T, {"z": U}), "a": [V, None, T]}
    leaves = [leaf for _, leaf in named_leaves(value)]
    assert [id(leaf) for leaf in leaves] == [id(leaf) for leaf in pytree.tree_leaves(value) if leaf is not None]


def test_a_model_output_gives_the_tensors_themselves() -> None:
    outputs = tensor_outputs(BaseModelOutputWithPooling(last_hidden_state=T, pooler_output=U))
    assert outputs["last_hidden_state"] is T
    assert outputs["pooler_output"] is U


@pytest.mark.parametrize(
    ("flat", "tree"),
    [
        (["x"], {"x": "x"}),
        (["cache.0", "cache.1"], {"cache": ("cache.0", "cache.1")}),
        (["cache.1", "cache.0"], {"cache": ("cache.0", "cache.1")}),
        (["s.h", "s.c"], {"s": {"h": "s.h", "c": "s.c"}}),
        (["a.0.key", "a.0.value", "b"], {"a": ({"key": "a.0.key", "value": "a.0.value"},), "b": "b"}),
        ([f"a.{number}" for number in range(12)], {"a": tuple(f"a.{number}" for number in range(12))}),
        ([], {}),
    ],
)
def test_names_become_arguments_again(flat: list[str], tree: dict[str, Any]) -> None:
    assert nest(flat) == tree


_KEYS = st.from_regex(r"[a-z_][a-z_0-9]{0,4}", fullmatch=True)
_TREES = st.recursive(
    st.just(T),
    lambda child: st.one_of(
        st.lists(child, min_size=1, max_size=3).map(tuple), st.dictionaries(_KEYS, child, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


@settings(derandomize=True, max_examples=200)
@given(st.dictionaries(_KEYS, _TREES, min_size=1, max_size=3))
def test_names_of_any_tree_lead_back_to_it(tree: dict[str, Any]) -> None:
    flat = names(tree)
    assert len(set(flat)) == len(flat)
    again = nest(flat)
    assert names(pytree.tree_map(lambda _: T, again)) == flat
    assert pytree.tree_structure(again) == pytree.tree_structure(pytree.tree_map(lambda _: "", tree))


@pytest.mark.parametrize("flat", [["a", "a.0"], ["a.0", "a"], ["a.b", "a.b.c"]])
def test_a_name_cannot_be_a_tensor_and_hold_others(flat: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        nest(flat)
    assert caught.value.code == "bad-input-spec"


def test_a_gap_in_a_tuple_is_not_closed_in_silence() -> None:
    """`cache.0` and `cache.2` mean that `cache.1` is None."""
    assert nest(["cache.0", "cache.2"]) == {"cache": ("cache.0", None, "cache.2")}
