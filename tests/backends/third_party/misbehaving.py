"""Targets as a third party would install them, each going wrong in its own way.

The option `at` says where: build, open or run.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from backends.onnxruntime.session import OnnxRuntimeSession
from compiler.contracts import Array, Arrays, Artifact, Legality, Probe, Ready, Session, Signature, Unavailable
from compiler.errors import CompileError
from compiler.graph_files import adopt


class Sound:
    """Nothing wrong with this one. While it works it says so."""

    name = "sound"

    def fault(self) -> None:
        logging.getLogger("plumbline.sound").info("half of it is done")

    def change(self, outputs: dict[str, Array]) -> dict[str, Array]:
        return outputs

    def probe(self) -> Probe:
        return Ready("misbehaving 1.0", ("cpu",))

    @property
    def legality(self) -> Legality:
        return Legality(opsets={"": 24})

    def options(self) -> Mapping[str, str]:
        return {"at": "build, open or run"}

    def passes(self) -> Sequence[Any]:
        return ()

    def build(self, graph: Path, signature: Signature, options: Mapping[str, Any], out: Path) -> Artifact:
        if options.get("at") == "build":
            self.fault()
        return Artifact(self.name, adopt(graph, out), "misbehaving 1.0", signature, options=dict(options))

    def open(self, artifact: Artifact, folder: Path, options: Mapping[str, Any]) -> Session:
        if options.get("at") == "open":
            self.fault()
        session = OnnxRuntimeSession(folder / artifact.files[0], artifact.signature, {})
        return FaultySession(self, session, faulty=options.get("at") == "run")


class FaultySession:
    def __init__(self, backend: Sound, session: Session, *, faulty: bool) -> None:
        self._backend = backend
        self._session = session
        self._faulty = faulty

    @property
    def effective(self) -> Mapping[str, Any]:
        return self._session.effective

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        if self._faulty:
            self._backend.fault()
        return self._backend.change(self._session(inputs))

    def close(self) -> None:
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Wrong(Sound):
    name = "wrong"

    def change(self, outputs: dict[str, Array]) -> dict[str, Array]:
        return {name: array + np.asarray(0.01, array.dtype) for name, array in outputs.items()}


class Crashing(Sound):
    name = "crashing"

    def fault(self) -> None:
        sys.stderr.write("about to touch a null pointer\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGSEGV)


class Hanging(Sound):
    name = "hanging"

    def fault(self) -> None:
        sys.stderr.write("hanging now\n")
        sys.stderr.flush()
        time.sleep(600)


class Raising(Sound):
    name = "raising"

    def fault(self) -> None:
        raise ArithmeticError("two and two make five")


class Greedy(Sound):
    name = "greedy"

    def fault(self) -> None:
        np.ones(2**33, np.uint8)


class Fragile(Sound):
    """At home with ordinary data: a NaN kills it, +Inf makes it hang, -Inf makes it raise."""

    name = "fragile"

    def open(self, artifact: Artifact, folder: Path, options: Mapping[str, Any]) -> Session:
        return FragileSession(self, super().open(artifact, folder, options), faulty=False)


class FragileSession(FaultySession):
    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        floats = np.concatenate([array.reshape(-1) for array in inputs.values()])
        if np.isnan(floats).any():
            Crashing().fault()
        if np.isposinf(floats).any():
            Hanging().fault()
        if np.isneginf(floats).any():
            Raising().fault()
        return super().__call__(inputs)


class Refusing(Sound):
    name = "refusing"

    def fault(self) -> None:
        raise CompileError("runtime-refused", "no, thank you", why="it does not like the graph")


class Absent(Sound):
    name = "absent"

    def probe(self) -> Probe:
        return Unavailable("its hardware is on the moon", "fly there")


class Homeless(Sound):
    """It builds; its hardware is elsewhere."""

    name = "homeless"

    def probe(self) -> Probe:
        return Ready("misbehaving 1.0", ("moon",), runs=False, note="no moon here")

    def open(self, artifact: Artifact, folder: Path, options: Mapping[str, Any]) -> Session:
        raise AssertionError("what cannot run is not opened")


class Faithless(Homeless):
    """Its own pass changes the numbers, and no runtime is there to show it."""

    name = "faithless"

    def passes(self) -> Sequence[Any]:
        import onnx_ir as ir

        class DropRelu(ir.passes.InPlacePass):
            def call(self, model: ir.Model) -> ir.passes.PassResult:
                relus = [node for node in model.graph if node.op_type == "Relu"]
                for node in relus:
                    ir.convenience.replace_all_uses_with(node.outputs[0], node.inputs[0])
                    model.graph.remove(node, safe=True)
                return ir.passes.PassResult(model, bool(relus))

        return (DropRelu(),)
