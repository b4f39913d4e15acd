"""From an ExportedProgram or a ScriptModule to a graph in the hub dialect, through torch's own exporters."""

from __future__ import annotations

import copy
import dataclasses
import re
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.passes.common import OutputFixPass
from torch.export import ExportedProgram
from torch.export.exported_program import ModuleCallEntry
from torch.export.graph_signature import ExportGraphSignature
from torch.utils import _pytree as pytree

from compiler.contracts import Dim, TensorSpec
from compiler.errors import CompileError
from compiler.frontend.exportable import exportable_graph
from compiler.frontend.naming import apart_from
from compiler.frontend.recurrent import decomposed, dynamic_recurrence
from compiler.frontend.user_code import first_lines, is_user_file, show_frame
from compiler.quiet import quiet

# The TorchScript exporter stops at this opset; nothing above it is emitted for a ScriptModule.
SCRIPT_OPSET = 20
# Under this name a model from `from_exported` has the program that it was really translated from: decomposed, and with
# names of nodes that are the names of the graph's values.
TRANSLATED = "translated"


def from_exported(
    exported: ExportedProgram,
    opset: int,
    *,
    retry: Callable[[], ExportedProgram | None],
    translations: Mapping[Callable[..., Any], Any],
) -> ir.Model:
    """The dynamo exporter, unoptimized: every later change is one of our passes. `retry` offers another program."""
    table = dict(translations) or None
    with quiet():
        try:
            return _export(exported, opset, table)
        except torch.onnx.OnnxExporterError as error:
            other = retry()
            try:
                # Decomposing first loses high-level operators, but passes where fused ones cannot be translated.
                return _export(other or decomposed(exported), opset, table)
            except (torch.onnx.OnnxExporterError, AssertionError, TypeError):  # the latter from torch's decompositions
                raise _cannot_export(error) from error


def _export(exported: ExportedProgram, opset: int, table: dict[Callable[..., Any], Any] | None) -> ir.Model:
    with dynamic_recurrence():
        program = torch.onnx.export(
            _exportable(exported),
            dynamo=True,
            opset_version=opset,
            optimize=False,
            verbose=False,
            custom_translation_table=table,
        )
    assert program is not None
    # A tensor that is returned as it came in, or twice, gets an Identity of its own.
    OutputFixPass()(program.model)
    program.model.meta[TRANSLATED] = program.exported_program
    return program.model


def _exportable(exported: ExportedProgram) -> ExportedProgram:
    """The program without what the exporter stumbles over or writes down badly. The original is not touched."""
    if (module := exportable_graph(exported)) is not None:
        exported = _with_graph(exported, module, exported.graph_signature, exported.module_call_graph)
    return _without_constant_outputs(exported)


def _without_constant_outputs(exported: ExportedProgram) -> ExportedProgram:
    """A Python number among the outputs is no tensor, whether it is known or a size."""
    if all(map(_is_tensor, _returned(exported.graph))):
        return exported
    module = copy.deepcopy(exported.graph_module)
    pairs = zip(_returned(module.graph), exported.graph_signature.output_specs, strict=True)
    kept = [(value, spec) for value, spec in pairs if _is_tensor(value)]
    module.graph.output_node().args = (tuple(value for value, _ in kept),)
    flat = pytree.tree_structure(tuple(range(len(kept))))
    calls = copy.deepcopy(exported.module_call_graph)
    assert calls[0].signature is not None
    calls[0].signature.out_spec = flat
    signature = dataclasses.replace(exported.graph_signature, output_specs=[spec for _, spec in kept])
    return _with_graph(exported, module, signature, calls)


def _with_graph(
    exported: ExportedProgram,
    module: torch.fx.GraphModule,
    signature: ExportGraphSignature,
    calls: list[ModuleCallEntry],
) -> ExportedProgram:
    return ExportedProgram(
        root=module,
        graph=module.graph,
        graph_signature=signature,
        state_dict=exported.state_dict,
        range_constraints=exported.range_constraints,
        module_call_graph=calls,
        example_inputs=exported.example_inputs,
        constants=exported.constants,
        verifiers=exported.verifiers,
    )


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.fx.Node) and isinstance(value.meta.get("val"), torch.Tensor)


def _returned(graph: torch.fx.Graph) -> Sequence[Any]:
    values: Any = graph.output_node().args[0]
    return list(values)


def from_script(
    module: torch.nn.Module,
    args: tuple[Any, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    specs: Sequence[TensorSpec],
) -> ir.Model:
    """The TorchScript exporter: it keeps loops and data-dependent branches."""
    axes = {spec.name: {axis: dim.name for axis, dim in enumerate(spec.dims) if isinstance(dim, Dim)} for spec in specs}
    with tempfile.TemporaryDirectory() as folder, quiet():
        file = Path(folder) / "script.onnx"
        try:
            torch.onnx.export(
                module,
                args,
                file,
                dynamo=False,
                opset_version=SCRIPT_OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_axes=axes,
            )
        except (torch.onnx.OnnxExporterError, torch.onnx.errors.OnnxExporterError, RuntimeError, TypeError) as error:
            raise _cannot_export(error) from error
        model = ir.load(file)
        # The folder goes away: weights that were stored beside the file come into memory.
        ir.external_data.load_to_model(model)
    return model


def _cannot_export(error: BaseException) -> CompileError:
    why, where = first_lines(error), None
    chain: BaseException | None = error
    while chain is not None:
        frames = [frame for frame in traceback.extract_tb(chain.__traceback__) if is_user_file(frame.filename)]
        where = show_frame(frames[-1]) if frames else where
        chain = chain.__cause__
    return CompileError(
        "export-failed",
        "torch's ONNX exporter cannot translate this model",
        where=where,
        why=why,
        hint="--translate says how an operator becomes ONNX; --debug shows the exporter's whole report",
    )


def name_inputs(model: ir.Model, names: Sequence[str]) -> None:
    _rename(list(model.graph.inputs), list(names), "inputs")


def name_outputs(model: ir.Model, names: Sequence[str]) -> None:
    _rename(list(model.graph.outputs), apart_from(names, {str(value.name) for value in model.graph.inputs}), "outputs")


def _rename(values: list[ir.Value], names: list[str], what: str) -> None:
    if len(values) != len(names):
        raise CompileError(
            "export-failed",
            f"the exporter gave {len(values)} {what} where the model has {len(names)}",
            why=f"it gave {', '.join(str(value.name) for value in values)}; the model has {', '.join(names)}",
        )
    for value, name in zip(values, names, strict=True):
        value.name = name


def name_dims(model: ir.Model, specs: Sequence[TensorSpec]) -> None:
    """The user's dim names on the inputs, and wherever the same size comes out again."""
    names: dict[str, str] = {}
    fixed: dict[str, int] = {}
    by_name = {spec.name: spec for spec in specs}
    for value in model.graph.inputs:
        spec = by_name[str(value.name)]
        if value.shape is None:
            continue
        for axis, dim in enumerate(spec.dims):
            have = value.shape[axis]
            if isinstance(dim, Dim) and isinstance(have, ir.SymbolicDim) and have.value:
                names[have.value] = dim.name
            elif isinstance(dim, int) and isinstance(have, ir.SymbolicDim) and have.value:
                fixed[have.value] = dim  # the program could do more than was asked for
            elif isinstance(dim, Dim) and isinstance(have, int):
                raise CompileError(
                    "dim-specialized",
                    f"the dim {dim} of '{spec.name}' came out of the exporter as the constant {have}",
                    hint="look for a size that is used as a plain number in the model's forward",
                )
    for value in [*model.graph.inputs, *model.graph.outputs, *_values(model)]:
        if value.shape is not None:
            value.shape = ir.Shape([_named(dim, names, fixed) for dim in value.shape])


def _values(model: ir.Model) -> Iterator[ir.Value]:
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        yield from node.outputs


def _named(dim: int | ir.SymbolicDim, names: dict[str, str], fixed: dict[str, int]) -> int | ir.SymbolicDim:
    """The dim, or the expression in dims, with the user's names."""
    if isinstance(dim, int) or dim.value is None:
        return dim
    if dim.value in fixed:
        return fixed[dim.value]
    whole = names.get(dim.value)
    return ir.SymbolicDim(whole or re.sub(r"[^\W\d]\w*", lambda word: names.get(word[0], word[0]), dim.value))


def line_of(node: torch.fx.Node) -> str | None:
    """The innermost line of model code that made an fx node."""
    trace = node.meta.get("stack_trace") or ""
    lines = [line.strip() for line in trace.splitlines() if line.strip().startswith('File "')]
    mine = [line for line in lines if is_user_file(line.split('"')[1])]
    return mine[-1].removeprefix("File ").replace('"', "").replace(", line ", ":") if mine else None
