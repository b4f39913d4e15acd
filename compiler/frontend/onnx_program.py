"""A model that comes as .onnx: it is its own graph, and our evaluator gives the reference answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import onnx_ir as ir

from compiler.cases import Scores
from compiler.contracts import Array, Arrays, Dim, Source, TensorSpec
from compiler.errors import CompileError, UsageError
from compiler.frontend import graph_ranges
from compiler.frontend.decisions import Decisions, Own, Wide
from compiler.frontend.loaders.onnx import load_onnx
from compiler.frontend.onnx_decisions import Looked, decides
from compiler.frontend.onnx_index_outputs import OnnxIndexOutputs
from compiler.frontend.program import NO_PINS, Answers, InputRange, Parameter, Pins
from compiler.ir.evaluate import Evaluator
from compiler.ir.masked_rows import restore_masked_rows
from compiler.ir.verify import signature_of

_UNBOUNDED = Dim("", 1, 16)  # what a symbolic dim of an .onnx file is checked at unless --input says otherwise


class OnnxProgram:
    def __init__(self, source: Source) -> None:
        self._model = load_onnx(source.path)
        facts: dict[str, Any] = {"opsets": dict(self._model.opset_imports)}
        # Before anything is computed: the answers that it is held to are those that it was meant to give.
        if masks := restore_masked_rows(self._model):
            facts["repaired"] = f"{len(masks)} masks hold -inf where the exporter wrote the lowest number"
        self._source = replace(source, route="onnx", facts=facts)
        self._evaluators: dict[bool, Evaluator] = {}
        self._indices: OnnxIndexOutputs | None = None
        self._specs = tuple(_ranged(spec) for spec in signature_of(self._model).inputs)
        _refuse_training(self._model)

    @property
    def source(self) -> Source:
        return self._source

    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(Parameter(str(spec), required=True) for spec in self._specs)

    def declared(self) -> tuple[TensorSpec, ...]:
        return self._specs

    def suggested(self) -> tuple[TensorSpec, ...]:
        return ()

    def examples(self) -> Arrays:
        return {}

    def trace(self, specs: tuple[TensorSpec, ...], example: Arrays, constants: Mapping[str, Any]) -> None:
        if constants:
            raise UsageError("unknown-input", f"an .onnx model has no scalar '{next(iter(constants))}'")
        for want, have in zip(specs, self._specs, strict=True):
            fits = len(want.dims) == len(have.dims) and want.dtype == have.dtype
            fixed = zip(want.dims, have.dims, strict=False)
            if not fits or any(isinstance(dim, int) and dim != asked for asked, dim in fixed):
                raise UsageError("input-mismatch", f"'{want}' does not fit the model's '{have}'")
        by_name = {spec.name: spec for spec in specs}
        for value in self._model.graph.inputs:
            if value.name in by_name:
                dims = by_name[value.name].dims
                value.shape = ir.Shape([dim if isinstance(dim, int) else _symbol(dim) for dim in dims])
        self._specs = specs

    def lift_random(
        self, specs: tuple[TensorSpec, ...], example: Arrays, constants: Mapping[str, Any]
    ) -> tuple[TensorSpec, ...]:
        raise CompileError(
            "random-model",
            "what an .onnx model draws cannot be made an input",
            hint="give --lift-random the PyTorch module that it was exported from",
        )

    def ranges(self) -> Mapping[str, InputRange]:
        return graph_ranges.of_onnx(self._model)

    def run(self, inputs: Arrays, *, precise: bool) -> dict[str, Array]:
        if precise not in self._evaluators:
            self._evaluators[precise] = Evaluator(self._model, precise=precise)
        return self._evaluators[precise](inputs)

    def answers(self, inputs: Arrays, *, shaken: Arrays | None = None, pins: Pins = NO_PINS) -> Answers:
        if not self.decides():
            outputs, oracle = self.run(inputs, precise=False), self.run(inputs, precise=True)
            return Answers(outputs, oracle, None if shaken is None else self.run(shaken, precise=True))
        decisions = Decisions(pins)
        outputs = self._looked(decisions.own(), inputs, precise=False)
        wide = decisions.wide()
        oracle = self._looked(wide, inputs, precise=True)
        moved = None if shaken is None else self._looked(decisions.wide(), shaken, precise=True)
        return Answers(outputs, oracle, moved, *wide.close())

    def decides(self) -> bool:
        return decides(self._model)

    def _looked(self, look: Own | Wide, inputs: Arrays, *, precise: bool) -> dict[str, Array]:
        return Evaluator(self._model, precise=precise, look=Looked(look))(inputs)

    def loops_on_data(self) -> bool:
        return any(node.op_type == "Loop" for node in ir.traversal.RecursiveGraphIterator(self._model.graph))

    def scores(self, inputs: Arrays, oracle: Arrays) -> Mapping[str, Scores]:
        if self._indices is None:
            self._indices = OnnxIndexOutputs(self._model)
        return self._indices.scores(inputs, oracle)

    def notes(self) -> tuple[str, ...]:
        return ()

    def inside(self) -> None:
        """The graph is its own source: there is nothing else to hold it against."""

    def capture(self, opset: int) -> ir.Model:
        """A clone: the passes change it, while the reference is computed from the graph as it came."""
        return self._model.clone()


def _symbol(dim: Dim | str) -> ir.SymbolicDim:
    return ir.SymbolicDim(dim.name if isinstance(dim, Dim) else dim)


def _ranged(spec: TensorSpec) -> TensorSpec:
    """A symbolic dim gets a range; one without a name is called after its input and axis."""

    def extent(axis: int, dim: Any) -> Any:
        if not isinstance(dim, str):
            return dim
        name = dim if dim.isidentifier() else f"{spec.name}_{axis}"
        return replace(_UNBOUNDED, name=name)

    return replace(spec, dims=tuple(extent(axis, dim) for axis, dim in enumerate(spec.dims)))


def _refuse_training(model: ir.Model) -> None:
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        mode = node.attributes.get_int("training_mode", 0)
        if node.op_type == "Dropout" and len(node.inputs) > 2 and node.inputs[2] is not None:
            flag = node.inputs[2].const_value
            mode = 1 if flag is not None and bool(flag.numpy()) else mode
        if mode:
            raise CompileError(
                "training-mode",
                "the graph still trains",
                where=f"{node.op_type} {node.name}",
                why="it runs in training mode",
                hint="export the model after model.eval()",
            )
