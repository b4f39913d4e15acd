"""ONNX files as onnx-ir models, their weights mapped into memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from compiler.errors import CompileError
from compiler.frontend.hostile.onnx import check_onnx
from compiler.frontend.user_code import first_lines

if TYPE_CHECKING:
    import onnx_ir as ir


def load_onnx(path: str | Path) -> ir.Model:
    """Parsed once, and checked before a tensor is read."""
    path = Path(path)
    proto = check_onnx(path)
    import onnx_ir as ir
    from onnx_ir.external_data import set_base_dir

    try:
        model = ir.serde.deserialize_model(proto)
    except (ValueError, TypeError, LookupError, AttributeError, NotImplementedError, ir.serde.SerdeError) as error:
        raise CompileError(
            "unreadable-model",
            f"{path} cannot be read as ONNX",
            why=first_lines(error),
            hint="see what onnx.checker.check_model says about it",
        ) from error
    # Absolute, because the weights are read later; and of functions, too, which onnx_ir.load leaves out.
    folder = path.absolute().parent
    set_base_dir(model.graph, folder)
    for function in model.functions.values():
        set_base_dir(function.graph, folder)
    return model
