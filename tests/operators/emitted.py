"""Which operators of the ONNX standard a PyTorch model can become.

Derived, not listed: from every translation in the registry of torch's exporter, through the functions that it calls,
to the `op.Name(...)` in their source; the same for the TorchScript exporter, which our frontend falls back to; and
what plumbline's own passes write. `python tests/operators/emitted.py` writes the result to emitted.json.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import json
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FILE = Path(__file__).with_name("emitted.json")
HUB_OPSET = 24

# What the dynamo exporter writes outside of translations: Python's operators on tensors, constants, conversions of
# arguments, lists of tensors.
_EXPORTER = ("_tensors", "_building", "_core", "_ir_passes")
_SCRIPT = "torch.onnx._internal.torchscript_exporter"
# Calls that make a node of the operator that their first argument names.
_MAKERS = ("op", "call_op", "_call_op", "node", "Node", "_op_with_optional_float_cast", "_reduce_op_symbolic")
_MAKERS += ("insert", "become", "add")  # in our own passes


def emitted() -> dict[str, list[str]]:
    """Each operator with who writes it."""
    sources = {
        "torch.onnx, dynamo": _by_translations() | _by_modules(map(_exporter_module, _EXPORTER)),
        "torch.onnx, TorchScript": _by_modules(_script_modules()),
        "plumbline": _by_our_passes(),
    }
    known = _standard()
    names = sorted(set().union(*sources.values()) & known)
    return {name: [source for source, found in sources.items() if name in found] for name in names}


def stored() -> dict[str, list[str]]:
    table: dict[str, list[str]] = json.loads(FILE.read_text())
    return table


def _standard() -> set[str]:
    import onnx

    schemas = onnx.defs.get_all_schemas_with_history()
    return {schema.name for schema in schemas if schema.domain == "" and schema.since_version <= HUB_OPSET}


def _by_translations() -> set[str]:
    from torch.onnx._internal._lazy_import import onnxscript_apis
    from torch.onnx._internal.exporter._registration import ONNXRegistry
    from torch.onnx.ops._impl import ONNX_ATEN_DECOMP_TABLE

    registry = ONNXRegistry.from_torchlib(opset_version=HUB_OPSET)
    translations = [meta.onnx_function for metas in registry.functions.values() for meta in metas]
    # Once more, because the registry leaves out torchvision's where that is not installed.
    translations += [meta.function for meta in onnxscript_apis.get_torchlib_ops()]
    # `torch.onnx.ops` offers these to models as they are.
    names = {str(operator).split(".")[1] for operator in ONNX_ATEN_DECOMP_TABLE}
    seen, pending = set[Callable[..., Any]](), [_python(translation) for translation in translations]
    while pending:
        function = pending.pop()
        if function in seen:
            continue
        seen.add(function)
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        names |= set(_operators(tree))
        pending += _called(tree, function.__globals__)
    return names


def _python(translation: Any) -> Callable[..., Any]:
    """The function that a script or traced function of onnxscript was made from."""
    while not inspect.isfunction(translation):
        translation = getattr(translation, "function", None) or translation.func
    return inspect.unwrap(translation)


def _called(tree: ast.AST, namespace: dict[str, Any]) -> list[Callable[..., Any]]:
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    values = [namespace[name] for name in names if name in namespace]
    return [_python(value) for value in values if _is_translation(value)]


def _is_translation(value: Any) -> bool:
    own = getattr(value, "__module__", None) or ""
    return own.startswith(("onnxscript", "torch.onnx")) and (
        inspect.isfunction(value) or type(value).__name__ in ("OnnxFunction", "TracedOnnxFunction")
    )


def _operators(tree: ast.AST) -> Iterator[str]:
    """`op.Name(...)`, `op20.Name(...)`, `self._opset.Name(...)`, `g.op("Name", ...)` and the like."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Attribute):
            yield function.attr
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name in _MAKERS:
            yield from (text.value for text in node.args if isinstance(text, ast.Constant) and _is_text(text))


def _is_text(node: ast.Constant) -> bool:
    return isinstance(node.value, str)


def _exporter_module(name: str) -> ModuleType:
    return importlib.import_module(f"torch.onnx._internal.exporter.{name}")


def _script_modules() -> list[ModuleType]:
    numbers = range(9, 21)
    names = [f"symbolic_opset{number}" for number in numbers]
    return [importlib.import_module(f"{_SCRIPT}.{name}") for name in (*names, "symbolic_helper")]


def _by_modules(modules: Iterator[ModuleType] | list[ModuleType]) -> set[str]:
    return {name for module in modules for name in _operators(ast.parse(inspect.getsource(module)))}


def _by_our_passes() -> set[str]:
    files = [*(ROOT / "compiler" / "passes").glob("*.py"), *(ROOT / "compiler" / "frontend").glob("*.py")]
    return {name for file in files for name in _operators(ast.parse(file.read_text()))}


@functools.cache
def operators() -> frozenset[str]:
    return frozenset(stored())


if __name__ == "__main__":
    FILE.write_text(json.dumps(emitted(), indent=1) + "\n")
