"""What a user asks of a model's precision, and what became of each layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

from compiler.contracts import Arrays
from compiler.errors import UsageError, did_you_mean

Name = Literal["float32", "float16", "bfloat16", "int8", "int4"]
NAMES: tuple[Name, ...] = get_args(Name)
SHORT = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
HALVES: tuple[Name, ...] = ("float16", "bfloat16")


@dataclass(frozen=True)
class Recipe:
    """How a model is made smaller and faster. The fields that a precision has no use for stay as they are."""

    precision: Name = "float32"
    method: str = "auto"  # int8: static, dynamic, weights; int4: rtn, gptq, awq
    group_size: int = 64  # how many weights along the summed axis share a scale; weight-only
    symmetric: bool = True  # of weights that are quantized alone
    calibrator: str = "auto"  # where an activation's range ends: minmax, percentile, mse, entropy
    keep: tuple[str, ...] = ()  # layers that stay as they are: names of nodes or modules, with * for any text
    own: tuple[tuple[str, Name], ...] = ()  # names as in `keep`, and what those layers get instead; the first that fits
    rest: Name = "float32"  # what int8 does not take: attention, sums, layers whose own precision it is
    seed: int = 0
    signed: bool = False  # activations too lie around zero, because the runtime takes no others
    wide: Mapping[str, str] = field(default_factory=dict, hash=False)  # operators that stay in float32, and why

    @property
    def mixed(self) -> tuple[Name, ...]:
        """All precisions below float32 that may occur, its own one first."""
        asked = (self.precision, self.rest, *(name for _, name in self.own))
        return tuple(dict.fromkeys(name for name in asked if name != "float32"))

    @property
    def half(self) -> Name | None:
        """The 16 bits of a mix."""
        return next((name for name in self.mixed if name in HALVES), None)


@dataclass(frozen=True)
class Layer:
    """What became of one node of the graph that holds weights, or was a candidate for lower precision."""

    name: str  # of the node
    operator: str
    precision: str  # what it computes in, or keeps its weights in: "int8", "int4 weights", "float32"
    bits: float  # of a weight on average, scales and zero points counted in; 32 where it was left alone
    weights: int = 0  # how many numbers
    why: str = ""  # why it stayed high
    error: float | None = None  # rms of what the new weights change in its output, relative to its rms; None: unknown


class Samples(Protocol):
    """Calibration data, which may be read as often as needed and is never in memory as a whole."""

    def __iter__(self) -> Iterator[Arrays]: ...


def mixture(text: str) -> tuple[Name, Name]:
    """`int8+bf16`: a precision, and that of what it leaves."""
    first, plus, second = text.partition("+")
    precision, rest = named(first), named(second) if plus else "float32"
    if plus and (precision != "int8" or rest not in HALVES):
        raise UsageError(
            "bad-option", f"'{text}' is no mixture", where="--precision", hint="int8+bf16 or int8+fp16, or one of them"
        )
    return precision, rest


def named(text: str) -> Name:
    """A precision by the name that the user gave it."""
    wanted = SHORT.get(text, text)
    for name in NAMES:
        if name == wanted:
            return name
    hint = did_you_mean(text, [*NAMES, *SHORT]) or f"one of {', '.join(NAMES)}"
    raise UsageError("bad-option", f"there is no precision '{text}'", where="--precision", hint=hint)
