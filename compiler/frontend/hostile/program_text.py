"""The JSON text of an exported program: what torch evaluates, imports or writes into generated code.

`torch.export.load` evaluates shape formulas with sympy, looks operators up by dotted name, imports the modules that
a tree specification names, and generates Python source from the names in the file. A file may hold only what an
exporter writes there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from compiler.errors import CompileError
from compiler.frontend.hostile.expressions import is_arithmetic

_OPERATORS = re.compile(r"torch\.ops\.(aten|prims|quantized_decomposed|torchvision|torchao|onnx)\.(\w+)\.(\w+)")
# These read or write files.
_FILE_OPERATORS = frozenset({"from_file", "save", "load_tensor"})
_HIGHER_ORDER = frozenset(
    f"torch.ops.higher_order.{name}"
    for name in (
        "cond", "while_loop", "scan", "map", "map_impl", "associative_scan", "invoke_subgraph", "flex_attention",
        "wrap_with_set_grad_enabled", "wrap_with_autocast", "auto_functionalized", "auto_functionalized_v2",
        "out_dtype", "hints_wrapper", "strict_mode",
    )
)  # fmt: skip
_ON_NUMBERS = frozenset(
    {
        *(
            f"_operator.{name}"
            for name in (
                "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "neg", "pos", "eq", "ne", "lt", "le", "gt",
                "ge", "and_", "or_", "lshift", "rshift", "getitem",
            )
        ),
        *(f"torch.sym_{name}" for name in ("float", "int", "not", "max", "min", "ite", "sum")),
        *(f"torch._sym_{name}" for name in ("sqrt", "ceil", "floor")),
        *(f"math.{name}" for name in ("trunc", "ceil", "floor")),
    }
)  # fmt: skip
_SPEC_KEY = re.compile(r"[\w.\-]*")


def check_program(text: bytes, where: str) -> None:
    for path, value in _strings(_parsed(text, where)):
        rule = _RULES.get(path[-1])
        if path[-1] == "as_string" and path[-2] in ("inputs", "value"):
            # A constant input is compared within quotes that the generated code puts around it.
            rule = (is_plain_name, "a text that would end up in generated code")
        if rule and not rule[0](value):
            raise CompileError(
                "unsafe-file",
                "this exported program holds what no exporter writes",
                where=where,
                why=f"{rule[1]}: {value[:120]!r}",
                hint="get the file from a source you know; if it is your own, --trust loads it unchecked",
            )


def _parsed(text: bytes, where: str) -> Any:
    try:
        return json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CompileError(
            "truncated-file", "the program in this file is damaged", where=where, why=str(error), hint="save it again"
        ) from error


def _strings(value: Any, path: tuple[str, ...] = ("", "")) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text with the last two keys above it; an element of a list counts as its list."""
    pending = [(path, value)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, str):
            yield path, value
        elif isinstance(value, dict):
            pending += [((path[-1], key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            pending += [(path, inner) for inner in value]


def _is_identifier(text: str) -> bool:
    return not text or (text.isascii() and text.isidentifier())


def is_plain_name(text: str) -> bool:
    return text.isprintable() and not set(text) & set("\"'\\")


def _is_operator(text: str) -> bool:
    found = _OPERATORS.fullmatch(text)
    if found is None:
        return text in _HIGHER_ORDER or text in _ON_NUMBERS
    _, operator, overload = found.groups()
    inherited = operator.startswith("__") and hasattr(object, operator)
    return operator not in _FILE_OPERATORS and not inherited and not overload.startswith("__")


def _is_tree_spec(text: str) -> bool:
    """No module is imported by it (an Enum's, a defaultdict's), and its keys can become names of arguments."""
    try:
        return _is_plain_spec(json.loads(text))
    except (ValueError, RecursionError):
        return False


def _is_plain_spec(value: Any) -> bool:
    match value:
        case dict() if "type" in value:
            context = value.get("context")
            if value["type"] == "collections.defaultdict":
                return False
            return _is_plain_context(context) and all(map(_is_plain_spec, value.get("children_spec") or []))
        case list():
            return all(map(_is_plain_spec, value))
        case _:
            return value is None or isinstance(value, int)


def _is_plain_context(context: Any) -> bool:
    if not isinstance(context, str):
        return context is None
    try:
        decoded = json.loads(context)
    except ValueError:
        decoded = context  # the dotted name of a namedtuple
    return all(_SPEC_KEY.fullmatch(text) and text != "__enum__" for text in _texts(decoded))


def _texts(value: Any) -> Iterator[str]:
    """Every text and every key."""
    pending = [value]
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            pending += [*value, *value.values()]
        elif isinstance(value, list):
            pending += value


_Rule = tuple[Callable[[str], bool], str]
_RULES: dict[str, _Rule] = {
    "expr_str": (is_arithmetic, "a size that is no arithmetic"),
    "guards_code": (lambda text: is_arithmetic(text, over_inputs=True), "a guard that is no arithmetic"),
    "target": (_is_operator, "an operator that models do not use"),
    "as_operator": (_is_operator, "an operator that models do not use"),
    "in_spec": (_is_tree_spec, "inputs of a kind that would be imported"),
    "out_spec": (_is_tree_spec, "outputs of a kind that would be imported"),
    "name": (_is_identifier, "a name that would end up in generated code"),
    "as_name": (_is_identifier, "a name that would end up in generated code"),
    "forward_arg_names": (_is_identifier, "a name that would end up in generated code"),
    "fqn": (is_plain_name, "a name that would end up in generated code"),
    "parameter_name": (is_plain_name, "a name that would end up in generated code"),
    "buffer_name": (is_plain_name, "a name that would end up in generated code"),
    "tensor_constant_name": (is_plain_name, "a name that would end up in generated code"),
    "custom_obj_name": (is_plain_name, "a name that would end up in generated code"),
    "user_input_name": (is_plain_name, "a name that would end up in generated code"),
}
