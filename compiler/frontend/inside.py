"""PyTorch's own values in the midst of a program, for when they must be held against a graph's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from compiler.contracts import Array, Arrays
from compiler.frontend.arrays import to_numpy, to_torch
from compiler.frontend.call import Call
from compiler.frontend.onnx_export import line_of
from compiler.frontend.oracle import float64_oracle
from compiler.frontend.state import unchanged
from compiler.frontend.user_code import user_code


class ExportedInside:
    """Of a module, and of the program that was translated to ONNX: the exporter names values after its nodes."""

    def __init__(
        self, module: torch.nn.Module, translated: ExportedProgram, call: Call, outputs: Sequence[str]
    ) -> None:
        self._module = module
        self._program: torch.fx.GraphModule = translated.module(check_guards=False)
        self._call = call
        self._outputs = outputs

    def values(self, inputs: Arrays, *, precise: bool) -> dict[str, Array]:
        recorder = self._recorded(inputs, precise=precise)
        found = dict(_named_arrays(recorder.seen.items(), "__"))
        results = zip(self._outputs, recorder.results, strict=True)
        return found | dict(_named_arrays(results, "__"))

    def modules(self, inputs: Arrays, *, precise: bool) -> dict[str, Array]:
        found: dict[str, Array] = {}
        if isinstance(self._module, torch.jit.ScriptModule):
            return found  # it takes no hooks that are called from its own code

        def keep(what: str, value: Any) -> None:
            # A later call of the same module is left out: in the exported program it has another name.
            found.update(_named_arrays([(what, value)] if what not in found else [], "."))

        with ExitStack() as hooks:
            for path, module in self._module.named_modules():
                for hook in _hooks(module, path, keep) if path else ():
                    hooks.callback(hook.remove)
            tensors = self._tensors(inputs)
            with self._mode(self._module, tensors, precise=precise):
                args, kwargs = self._call.bind(tensors)
                self._module(*args, **kwargs)
        return found

    def exported_modules(self, inputs: Arrays) -> dict[str, Array]:
        seen = self._recorded(inputs, precise=False).seen
        return dict(_named_arrays(((what, seen[node.name]) for what, node in self._borders().items()), "."))

    def line(self, what: str) -> str:
        node = self._borders().get(what)
        place = (line_of(node) or "") if node is not None else ""
        return PurePath(place.partition(",")[0].replace("\\", "/")).name

    def _borders(self) -> dict[str, torch.fx.Node]:
        """The nodes that give what goes into a module, and its result; left out where there are several."""
        inside: dict[str, dict[torch.fx.Node, None]] = {}
        for node in self._program.graph.nodes:
            for path, _ in (node.meta.get("nn_module_stack") or {}).values():
                inside.setdefault(str(path), {})[node] = None
        found = {}
        for path, nodes in inside.items():
            given = dict.fromkeys(source for node in nodes for source in node.all_input_nodes if source not in nodes)
            results = [node for node in nodes if any(user not in nodes for user in node.users)]
            for what, border in (
                (_INPUT.format(path), [node for node in given if node.op != "get_attr"]),
                (_RESULT.format(path), results),
            ):
                if path and len(border) == 1:
                    found[what] = border[0]
        return found

    def _recorded(self, inputs: Arrays, *, precise: bool) -> _Recorder:
        tensors = self._tensors(inputs)
        recorder = _Recorder(self._program)
        flat = [tensors[leaf] if isinstance(leaf, str) else leaf.value for leaf in self._call.leaves]
        with self._mode(self._program, tensors, precise=precise):
            recorder.results = recorder.run(*flat, enable_io_processing=False)
        return recorder

    def _tensors(self, inputs: Arrays) -> dict[str, torch.Tensor]:
        return {name: to_torch(inputs[name]) for name in self._call.names}

    def _mode(
        self, module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], *, precise: bool
    ) -> AbstractContextManager[Any]:
        stack = ExitStack()
        stack.enter_context(user_code("model-raised", "the model fails where its inner values are looked at"))
        stack.enter_context(torch.no_grad())
        stack.enter_context(unchanged(module, True, set()))
        stack.enter_context(float64_oracle(module, tensors.values()) if precise else nullcontext())
        return stack


_INPUT = "the input of '{}'"
_RESULT = "the result of '{}'"


def _hooks(module: torch.nn.Module, path: str, keep: Callable[[str, Any], None]) -> Iterable[Any]:
    """`keep` is told of what goes in, where that is one value, and of what comes out."""

    def before(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        if len(given) == 1:
            keep(_INPUT.format(path), given[0])

    yield module.register_forward_pre_hook(before, with_kwargs=True)
    yield module.register_forward_hook(lambda _, __, result: keep(_RESULT.format(path), result))


class _Recorder(torch.fx.Interpreter):
    """Keeps the result of every node."""

    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module)
        self.seen: dict[str, Any] = {}
        self.results: Sequence[Any] = ()

    def run_node(self, n: torch.fx.Node) -> Any:
        self.seen[n.name] = super().run_node(n)
        return self.seen[n.name]


def _named_arrays(results: Iterable[tuple[str, Any]], joint: str) -> Iterator[tuple[str, Array]]:
    """Tensors by name, and sizes, which the graph has as int64; of a node with several results they are numbered."""
    for name, result in results:
        if isinstance(result, torch.Tensor):
            yield name, to_numpy(result)
        elif isinstance(result, int) and not isinstance(result, bool):
            yield name, np.asarray(result, np.int64)
        elif isinstance(result, (tuple, list)):
            yield from _named_arrays(((f"{name}{joint}{place}", part) for place, part in enumerate(result)), joint)
