"""What OpenVINO's CPU plugin takes."""

from __future__ import annotations

from compiler.contracts import Legality

LEGALITY = Legality(
    opsets={"": 24, "com.microsoft": 1},
    refuses={
        "NegativeLogLikelihoodLoss": "its frontend takes no such operator",
        "SoftmaxCrossEntropyLoss": "its frontend takes no such operator",
    },
    dtypes={
        "float64": "OpenVINO's CPU computes float64 in float32",
        "complex64": "OpenVINO has no complex numbers",
        "complex128": "OpenVINO has no complex numbers",
        "string": "OpenVINO's CPU computes nothing with text",
    },
)
