"""The target TVM with a fault in one of its kernels, as a third party would install it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from backends.tvm.backend import Tvm
from compiler.contracts import Artifact, Session, Signature

if TYPE_CHECKING:
    from backends.tvm.emit.op import Emit, Op, Result


class WrongTvm(Tvm):
    """The option `operator` says which kernel is wrong: "Softmax" wherever it is used, "Softmax+Add" where an Add
    follows, which it is then fused with."""

    name = "wrong-tvm"

    def options(self) -> Mapping[str, str]:
        return {"operator": "the one whose result is 1 % too large"}

    def build(self, graph: Path, signature: Signature, options: Mapping[str, Any], out: Path) -> Artifact:
        with _spoiled(str(options["operator"])):
            artifact = super().build(graph, signature, {"cache": "no"}, out)
        return replace(artifact, target=self.name, options=dict(options))

    def open(self, artifact: Artifact, folder: Path, options: Mapping[str, Any]) -> Session:
        return super().open(artifact, folder, {})


@contextmanager
def _spoiled(which: str) -> Iterator[None]:
    from backends.tvm.emit import table

    operator, _, follower = which.partition("+")
    emit = table.table()
    emit[operator] = _too_large(emit[operator], follower)
    with patch.object(table, "table", lambda: emit):
        yield


def _too_large(right: Emit, follower: str) -> Emit:
    def wrong(op: Op) -> Result:
        from tvm import relax

        result = right(op)
        followers = [use.node.op_type for use in op.node.outputs[0].uses()]
        if follower and follower not in followers:
            return result
        return relax.op.multiply(result, op.const(1.01, "float32"))

    return wrong
