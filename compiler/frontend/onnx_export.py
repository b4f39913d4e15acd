"""From an ExportedProgram or a ScriptModule to a graph in the hub dialect, through torch's own exporters."""

from __future__ import annotations

import logging
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch.export import ExportedProgram

from compiler.contracts import Dim, TensorSpec
from compiler.errors import CompileError
from compiler.frontend.user_code import first_lines, is_user_file, show_frame

# The TorchScript exporter stops at this opset; nothing above it is emitted for a ScriptModule.
SCRIPT_OPSET = 20


def from_exported(exported: ExportedProgram, opset: int, *, retry: Callable[[], ExportedProgram | None]) -> ir.Model:
    """The dynamo exporter, unoptimized: every later change is one of our passes. `retry` offers another program."""
    with _quiet():
        try:
            return _export(exported, opset)
        except torch.onnx.OnnxExporterError as error:
            other = retry()
            try:
                # Decomposing first loses high-level operators, but passes where fused ones cannot be translated.
                return _export(other or exported.run_decompositions(), opset)
            except torch.onnx.OnnxExporterError:
                raise _cannot_export(error) from error


def _export(exported: ExportedProgram, opset: int) -> ir.Model:
    _drop_constant_outputs(exported)
    program = torch.onnx.export(exported, dynamo=True, opset_version=opset, optimize=False, verbose=False)
    assert program is not None
    return program.model


def _drop_constant_outputs(exported: ExportedProgram) -> None:
    """A Python number among the outputs is no tensor; the exporter stumbles over it."""
    specs = exported.graph_signature.output_specs
    output = exported.graph.output_node()
    kept = [
        (value, spec)
        for value, spec in zip(output.args[0], specs, strict=True)  # type: ignore[arg-type]
        if isinstance(value, torch.fx.Node)
    ]
    if len(kept) == len(specs):
        return
    output.args = (tuple(value for value, _ in kept),)
    exported.graph_signature.output_specs[:] = [spec for _, spec in kept]


def from_script(
    module: torch.nn.Module,
    args: tuple[Any, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    specs: Sequence[TensorSpec],
) -> ir.Model:
    """The TorchScript exporter: it keeps loops and data-dependent branches."""
    axes = {spec.name: {axis: dim.name for axis, dim in enumerate(spec.dims) if isinstance(dim, Dim)} for spec in specs}
    with tempfile.TemporaryDirectory() as folder, _quiet():
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
        hint="--debug shows the exporter's whole report",
    )


def name_inputs(model: ir.Model, names: Sequence[str]) -> None:
    _rename(list(model.graph.inputs), list(names), "inputs")


def name_outputs(model: ir.Model, names: Sequence[str | None]) -> None:
    """Give the outputs their names; a tensor that is returned as it came in, or twice, gets an Identity."""
    ir.passes.common.OutputFixPass()(model)
    wanted = [name for name in names if name is not None]
    taken = {value.name for value in model.graph.inputs}
    _rename(list(model.graph.outputs), [f"{name}_out" if name in taken else name for name in wanted], "outputs")


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
    by_name = {spec.name: spec for spec in specs}
    for value in model.graph.inputs:
        spec = by_name[str(value.name)]
        if value.shape is None:
            continue
        for axis, dim in enumerate(spec.dims):
            have = value.shape[axis]
            if isinstance(dim, Dim) and isinstance(have, ir.SymbolicDim) and have.value:
                names[have.value] = dim.name
            elif isinstance(dim, Dim) and isinstance(have, int):
                raise CompileError(
                    "dim-specialized",
                    f"the dim {dim} of '{spec.name}' came out of the exporter as the constant {have}",
                    hint="look for a size that is used as a plain number in the model's forward",
                )
    for value in [*model.graph.inputs, *model.graph.outputs, *_values(model)]:
        if value.shape is not None:
            value.shape = ir.Shape([_named(dim, names) for dim in value.shape])


def _values(model: ir.Model) -> Iterator[ir.Value]:
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        yield from node.outputs


def _named(dim: int | ir.SymbolicDim, names: dict[str, str]) -> int | ir.SymbolicDim:
    if isinstance(dim, ir.SymbolicDim) and dim.value in names:
        return ir.SymbolicDim(names[dim.value])
    return dim


def line_of(node: torch.fx.Node) -> str | None:
    """The innermost line of model code that made an fx node."""
    trace = node.meta.get("stack_trace") or ""
    lines = [line.strip() for line in trace.splitlines() if line.strip().startswith('File "')]
    mine = [line for line in lines if is_user_file(line.split('"')[1])]
    return mine[-1].removeprefix("File ").replace('"', "").replace(", line ", ":") if mine else None


@contextmanager
def _quiet() -> Iterator[None]:
    """torch's exporter warns about packages that are not there and names that it did not use."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
