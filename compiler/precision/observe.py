"""What stands at chosen places of a graph, sample by sample."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import onnx_ir as ir

from compiler.contracts import Array
from compiler.errors import CompileError
from compiler.ir.evaluate import Evaluator
from compiler.precision.recipe import Samples


def observe(model: ir.Model, names: Collection[str], samples: Samples) -> Iterator[dict[str, Array]]:
    """The values under these names, inputs included, in float32; one sample is in memory at a time."""
    seen = model.clone()
    given = {value.name for value in seen.graph.inputs}
    values = {value.name: value for node in seen.graph for value in node.outputs}
    seen.graph.outputs.clear()
    seen.graph.outputs.extend(values[name] for name in names if name not in given)
    evaluator = Evaluator(seen, precise=False)
    for inputs in samples:
        yield {name: inputs[name] for name in names if name in given} | evaluator(inputs)


def observe_finite(model: ir.Model, names: Collection[str], samples: Samples) -> Iterator[dict[str, Array]]:
    """No range holds what is no number."""
    for values in observe(model, names, samples):
        for name, array in values.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise CompileError(
                    "calibration-values",
                    f"the calibration data leads to NaN or infinity in '{name}'",
                    why="no range holds them",
                    hint="look for samples that the model itself cannot take",
                )
        yield values
