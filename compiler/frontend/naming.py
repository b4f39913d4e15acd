"""Stable readable names for nested inputs and outputs: `cache.0.key`, `output_1`, `logits`."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from compiler.errors import UsageError

_Scalar = (bool, int, float, complex, str, bytes, torch.dtype, torch.device)


def named_leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf that is not None, with its dotted path, in the order in which pytree flattens it."""
    if value is None:
        return
    for name, child in _children(value):
        yield from named_leaves(child, f"{prefix}.{name}" if prefix else name)
    if _is_leaf(value):
        yield prefix, value


def output_leaves(value: Any) -> list[tuple[str, Any]]:
    """Like `named_leaves`, for what forward returned: a bare tensor is `output`, a tuple `output_0`, ..."""
    leaves = list(named_leaves(value))
    if len(leaves) == 1 and leaves[0][0] in ("", "0"):
        return [("output", leaves[0][1])]
    return [(f"output_{name}" if name[:1].isdigit() else name or "output", leaf) for name, leaf in leaves]


def tensor_outputs(value: Any, inputs: Collection[str] = ()) -> dict[str, torch.Tensor]:
    leaves = [(name, leaf) for name, leaf in output_leaves(value) if isinstance(leaf, torch.Tensor)]
    names = apart_from([name for name, _ in leaves], inputs)
    return {name: leaf for name, (_, leaf) in zip(names, leaves, strict=True)}


def apart_from(names: Iterable[str], inputs: Collection[str]) -> list[str]:
    """A graph has one name for one thing: an output that would share an input's name is called `name_out`."""
    return [f"{name}_out" if name in inputs else name for name in names]


def nest(names: list[str]) -> dict[str, Any]:
    """The inverse for inputs: dotted names as nested dicts and tuples whose leaves are the names themselves.

    A place of a tuple that no name speaks of is None.
    """
    tree: dict[str, Any] = {}
    for name in names:
        *path, last = name.split(".")
        level = tree
        for part in path:
            level = level.setdefault(part, {})
            if not isinstance(level, dict):
                raise _both(level, name)
        if last in level:
            raise _both(name, next(other for other in names if other.startswith(f"{name}.")))
        level[last] = name
    return {key: _as_tuples(child) for key, child in tree.items()}


def _both(outer: str, inner: str) -> UsageError:
    return UsageError(
        "bad-input-spec",
        f"'{outer}' cannot be one value and hold '{inner}' as well",
        hint="give the values that it is made of, or the whole",
    )


def _as_tuples(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    children = {key: _as_tuples(child) for key, child in tree.items()}
    if all(key.isdigit() for key in children):
        places = {int(key): child for key, child in children.items()}
        return tuple(places.get(place) for place in range(max(places) + 1))
    return children


def _is_leaf(value: Any) -> bool:
    return isinstance(value, (torch.Tensor, *_Scalar)) or (
        type(value) not in pytree.SUPPORTED_NODES
        and not (isinstance(value, (Mapping, tuple, list)) or _is_record(value))
    )


def _is_record(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _children(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, (torch.Tensor, *_Scalar)):
        return []
    if isinstance(value, Mapping):
        return [(str(key), child) for key, child in value.items()]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, (tuple, list)):
        return [(str(index), child) for index, child in enumerate(value)]
    if type(value) in pytree.SUPPORTED_NODES:
        node = pytree.SUPPORTED_NODES[type(value)]
        if node.flatten_with_keys_fn is not None:
            keyed, _ = node.flatten_with_keys_fn(value)
            return [(_key(key), child) for key, child in keyed]
        children, _ = node.flatten_fn(value)
        return [(str(index), child) for index, child in enumerate(children)]
    if _is_record(value):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    return []


def _key(key: Any) -> str:
    """A step of a path in a pytree: an attribute, a key or an index."""
    for field in ("name", "key", "idx"):
        if hasattr(key, field):
            return str(getattr(key, field))
    return str(key)
