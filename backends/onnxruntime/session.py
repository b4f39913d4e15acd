"""A loaded model in ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends.onnxruntime import options as settings
from compiler.contracts import Array, Arrays, Closing, Signature
from compiler.errors import CompileError, UnavailableError


class OnnxRuntimeSession(Closing):
    def __init__(self, file: Path, signature: Signature, options: Mapping[str, Any]) -> None:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as states

        wanted = settings.providers(options)
        if missing := [name for name in wanted if name not in onnxruntime.get_available_providers()]:
            raise UnavailableError(
                "provider-missing",
                f"this onnxruntime has no {missing[0]}",
                why=f"it has {', '.join(onnxruntime.get_available_providers())}",
                hint="pip install onnxruntime-gpu instead of onnxruntime" if "CUDA" in missing[0] else None,
            )
        made = settings.session_options(options)
        try:
            self._session = onnxruntime.InferenceSession(os.fspath(file), made, providers=wanted)
        except (states.NotImplemented, states.Fail, states.InvalidGraph, states.InvalidArgument) as error:
            raise CompileError(
                "runtime-refused", "ONNX Runtime does not take this graph", why=str(error).splitlines()[0]
            ) from error
        self._outputs = [output.name for output in self._session.get_outputs()]
        # Below its wrapper, which looks at the inputs' names once more: a tenth of a small model's time. After an error
        # of a provider the wrapper would also go on with another one. The name is not public: else the wrapper will do.
        self._run = getattr(self._session, "_sess", self._session).run
        self._options = made

    @property
    def effective(self) -> Mapping[str, Any]:
        return {
            "providers": self._session.get_providers(),
            "precision": "as the graph says",
            "threads": self._options.intra_op_num_threads or os.cpu_count(),
        }

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        feed = inputs if isinstance(inputs, dict) else dict(inputs)
        return dict(zip(self._outputs, self._run(self._outputs, feed, None), strict=True))

    def close(self) -> None:
        # The runtime frees with its last reference.
        del self._run, self._session
