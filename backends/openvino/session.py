"""A loaded model in OpenVINO."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backends.openvino import extensions, model_cache
from backends.openvino import options as settings
from compiler.contracts import Array, Arrays, Artifact, Closing, Signature
from compiler.errors import CompileError, UsageError

if TYPE_CHECKING:
    import openvino


class OpenVinoSession(Closing):
    def __init__(self, artifact: Artifact, folder: Path, options: Mapping[str, Any]) -> None:
        import openvino

        core = openvino.Core()
        settings.check(options, core)
        extensions.load(artifact, folder, core)
        graph, properties = folder / artifact.files[0], settings.properties(options)
        self._cached = options.get("cache") == "yes"
        if self._cached:
            properties |= model_cache.properties(graph, properties)
        try:
            self._compiled = core.compile_model(core.read_model(graph), settings.DEVICE, properties)
        except RuntimeError as error:
            raise CompileError(
                "runtime-refused", "OpenVINO does not take this graph", why=str(error).strip().splitlines()[-1]
            ) from error
        places = {port.node.friendly_name: number for number, port in enumerate(self._compiled.inputs)}
        self._inputs = [(spec.name, places[spec.name]) for spec in artifact.signature.inputs if spec.name in places]
        self._outputs = [(spec.name, place) for place, spec in enumerate(artifact.signature.outputs)]
        self._rounded = [spec.name for spec in artifact.signature.outputs if spec.dtype == "bfloat16"]
        self._largest = _Largest(artifact.signature, artifact.facts)
        self._idle: deque[openvino.InferRequest] = deque()

    @property
    def effective(self) -> Mapping[str, Any]:
        read = self._compiled.get_property
        kept = {"loaded_from_cache": read("LOADED_FROM_CACHE")} if self._cached else {}
        return {
            "device": ", ".join(read("EXECUTION_DEVICES")),
            "precision": read("INFERENCE_PRECISION_HINT").to_string(),
            "execution_mode": read("EXECUTION_MODE_HINT").name,
            "hint": str(read("PERFORMANCE_HINT")).rpartition(".")[2],
            "streams": read("NUM_STREAMS"),
            "threads": read("INFERENCE_NUM_THREADS"),
            **kept,
        }

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        # Every line counts: beside a run of some microseconds caches are cold, and what Python does costs as much.
        self._largest.check_inputs(inputs)
        try:
            request = self._idle.pop()  # one that nobody else uses; as many are made as calls run at the same time
        except IndexError:
            request = self._compiled.create_infer_request()
        for name, place in self._inputs:
            request.set_input_tensor(place, tensor_over(inputs[name]))
        # On the runtime's own threads: for a small model `infer`, which stays on ours, takes four times as long.
        request.start_async()
        request.wait()
        if self._largest.watched:
            self._largest.check_watched(request.get_output_tensor(len(self._outputs)).data)
        answers = {name: request.get_output_tensor(place).data.copy() for name, place in self._outputs}
        for name in self._rounded:
            answers[name] = _as_bfloat16(answers[name])
        self._idle.append(request)  # not after an error: what state that leaves is not known
        return answers

    def close(self) -> None:
        self._idle.clear()
        del self._compiled


class _Largest:
    """The magnitude up to which whole numbers were proven to be computed right; the build found it."""

    def __init__(self, signature: Signature, facts: Mapping[str, Any]) -> None:
        self._bound: int = facts.get("largest_integer", 2**64)
        self.watched = "guard" in facts
        whole = [spec for spec in signature.inputs if spec.dtype.startswith(("int", "uint"))]
        self._inputs = [spec.name for spec in whole if int(np.iinfo(spec.dtype).max) > self._bound]

    def check_inputs(self, inputs: Arrays) -> None:
        for name in self._inputs:
            array = inputs[name]
            if array.size and not (-self._bound <= array.min() and array.max() <= self._bound):
                raise _too_large(f"input '{name}' holds {_furthest(array)}", self._bound)

    def check_watched(self, magnitude: Array) -> None:
        if magnitude > self._bound:
            raise _too_large(f"a float that becomes an integer is {float(magnitude):g}", self._bound)


def _furthest(array: Array) -> int:
    return max(int(array.min()), int(array.max()), key=abs)


def _too_large(what: str, bound: int) -> UsageError:
    return UsageError(
        "integer-too-large",
        what,
        why=f"OpenVINO's CPU holds int64 in int32, and this model is proven to be right up to {bound}",
        hint="smaller numbers, or another --target",
    )


def tensor_over(array: Array) -> openvino.Tensor:
    """Over the array's own memory wherever that can be."""
    import openvino

    # np.require says the same of every array, but takes ten times as long.
    plain = array if array.flags.carray else np.require(array, requirements=("C", "ALIGNED", "WRITEABLE"))
    if array.dtype.kind == "V":  # bfloat16: numpy's buffers have no such type
        return openvino.Tensor(plain.view(np.uint16), array.shape, openvino.Type.bf16)
    return openvino.Tensor(plain, shared_memory=True)


def _as_bfloat16(array: Array) -> Array:
    import ml_dtypes

    return array.view(ml_dtypes.bfloat16)
