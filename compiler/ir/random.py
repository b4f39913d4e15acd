"""A model that draws random numbers has no right answer to be held against."""

from __future__ import annotations

import onnx_ir as ir

from compiler.errors import CompileError
from compiler.ir.provenance import describe

_DRAWS = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}


def refuse_random(model: ir.Model) -> None:
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        if node.op_type in _DRAWS and node.domain == "":
            raise CompileError(
                "random-model",
                "the model draws random numbers, so there is no answer to hold it against",
                where=describe(node),
                hint="--lift-random makes the noise an input of the model; or take the drawing out for inference",
            )
