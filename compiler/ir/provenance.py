"""Where a node comes from: the module of the user's model and the line of Python.

torch's exporter leaves the module path and the Python stack on each node. A node that replaces several keeps the
union of their origins, so that an error about a fused node can still point at source code.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

STACK_TRACE = "pkg.torch.onnx.stack_trace"
NAME_SCOPES = "pkg.torch.onnx.name_scopes"
FX_NODE = "pkg.torch.onnx.fx_node"
ORIGINS = "plumbline.origins"

# What torch writes for the nodes that read an input's size, which no module does.
_NO_MODULE = "_empty_nn_module_stack_from_metadata_hook"

_FRAME = re.compile(
    r'^\s*File "(?P<path>[^"]+)", line (?P<line>\d+), in [^\n]*(?:\n(?!\s*File ")\s*(?P<code>[^\n]*))?', re.M
)
_INSIDE_TORCH = re.compile(
    r"(?:^|[/\\])torch[/\\](?:nn|_\w+|fx|jit|export|onnx|utils|functional\.py)(?:[/\\]|$)|-packages[/\\]torch[/\\]"
)
_FX_TARGET = re.compile(r"\[target=(?:torch\.ops\.)?([\w.]+)\]")
_SCOPED_NAME = re.compile(r"^/(?P<scopes>.+)/[^/]+$")


@dataclass(frozen=True)
class Provenance:
    """`module` is the dotted path in the model, "" for the model itself; `file` is empty where no line is known."""

    module: str = ""
    path: str = ""
    line: int = 0
    code: str = ""

    @property
    def file(self) -> str:
        return PurePath(self.path.replace("\\", "/")).name

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.path else ""
        if self.module and place:
            return f"{self.module} ({place})"
        return self.module or place


def provenance(node: ir.Node) -> Provenance | None:
    """The origin of a node; for a fused node the module that holds all of its origins, and the first one's line."""
    found = origins(node)
    if not found:
        return None
    return dataclasses.replace(found[0], module=_common_module([origin.module for origin in found]))


def origins(node: ir.Node) -> tuple[Provenance, ...]:
    """Every origin of a node, in the order in which they were joined."""
    joined = node.metadata_props.get(ORIGINS)
    if joined is not None:
        return _read_origins(joined)
    own = _from_exporter(node)
    return (own,) if own else ()


def _read_origins(text: str) -> tuple[Provenance, ...]:
    # Metadata comes with files that others wrote; what cannot be read is no provenance.
    try:
        return tuple(_origin(**fields) for fields in json.loads(text))
    except (ValueError, TypeError):
        return ()


def _origin(module: str = "", path: str = "", line: int = 0, code: str = "") -> Provenance:
    return Provenance(str(module), str(path), int(line), str(code))


def describe(node: ir.Node) -> str:
    """A node in words: "Attention node_12, from encoder.layer.3.attention.self (modeling_bert.py:312)"."""
    words = f"{node.op_type} {node.name}" if node.name else node.op_type
    origin = provenance(node)
    return f"{words}, from {origin}" if origin and str(origin) else words


def operation(node: ir.Node) -> str:
    """What the exporter translated to the node, such as aten.gelu.default; "" where it does not say."""
    found = _FX_TARGET.search(node.metadata_props.get(FX_NODE, ""))
    return found[1] if found else ""


def inherit(new_nodes: Iterable[ir.Node], old_nodes: Sequence[ir.Node]) -> None:
    """Give nodes the origins of those that they replace, besides those that they already have."""
    for new in new_nodes:
        if new in old_nodes:
            continue
        for key, value in _exporter_metadata(old_nodes).items():
            new.metadata_props.setdefault(key, value)
        union = dict.fromkeys(origin for node in (*old_nodes, new) for origin in origins(node))
        if len(union) > 1:
            new.metadata_props[ORIGINS] = json.dumps([dataclasses.asdict(origin) for origin in union])


def _exporter_metadata(nodes: Iterable[ir.Node]) -> dict[str, str]:
    for node in nodes:
        found = {key: value for key, value in node.metadata_props.items() if key in (STACK_TRACE, NAME_SCOPES)}
        if found:
            return found
    return {}


def _from_exporter(node: ir.Node) -> Provenance | None:
    props = node.metadata_props
    module = _module(props[NAME_SCOPES]) if NAME_SCOPES in props else _module_in_name(node.name or "")
    frame = _user_frame(props.get(STACK_TRACE, ""))
    if module is None and frame is None:
        return None
    path, line, code = frame or ("", 0, "")
    return Provenance(module or "", path, line, code)


def _module(name_scopes: str) -> str:
    try:
        scopes = ast.literal_eval(name_scopes)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ""
    # The last scope is the operation itself.
    module = str(scopes[-2]) if isinstance(scopes, list) and len(scopes) > 1 else ""
    return "" if module == _NO_MODULE else module


def _module_in_name(name: str) -> str | None:
    """The TorchScript exporter keeps the module path only in node names: /encoder/layer.3/attention/MatMul."""
    match = _SCOPED_NAME.match(name)
    return match["scopes"].replace("/", ".") if match else None


def _user_frame(stack_trace: str) -> tuple[str, int, str] | None:
    """The innermost frame of code that is not torch's own."""
    frames = [match for match in _FRAME.finditer(stack_trace) if not _INSIDE_TORCH.search(match["path"])]
    if not frames:
        return None
    last = frames[-1]
    return last["path"], int(last["line"]), (last["code"] or "").strip()


def _common_module(modules: Sequence[str]) -> str:
    common: list[str] = []
    for parts in zip(*(module.split(".") for module in modules), strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return ".".join(common)
