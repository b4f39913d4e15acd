"""The types that the rooms hand to each other.

Only the standard library and numpy are imported here, so that a production host which merely runs an
artifact loads nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx_ir as ir

    Array = npt.NDArray[Any]
else:
    Array = np.ndarray  # numpy.typing alone would take longer to import than this whole module

Arrays = Mapping[str, Array]

# ---------------------------------------------------------------------------------------------------------------
# What a model takes and gives


@dataclass(frozen=True)
class Dim:
    """A named dimension: it may take the values lo, lo + step, ... up to hi, all multiples of `step`."""

    name: str
    lo: int
    hi: int
    step: int = 1

    def __str__(self) -> str:
        if self.step == 1:
            return f"{self.name}={self.lo}..{self.hi}"
        return f"{self.name}={self.step}*{self.lo // self.step}..{self.hi // self.step}"

    def __contains__(self, size: int) -> bool:
        return self.lo <= size <= self.hi and size % self.step == 0


Extent = int | Dim


@dataclass(frozen=True)
class TensorSpec:
    """One input or output. An output's dim may also be an expression in the inputs' dims, kept as text."""

    name: str
    dtype: str
    dims: tuple[Extent | str, ...]

    def __str__(self) -> str:
        return f"{self.name}:{self.dtype}[{','.join(map(str, self.dims))}]"

    @property
    def dynamic(self) -> tuple[Dim, ...]:
        return tuple(dim for dim in self.dims if isinstance(dim, Dim))

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The concrete shape at these sizes; only for specs without textual expressions."""
        shape = []
        for dim in self.dims:
            if isinstance(dim, str):
                raise TypeError(f"{self} has no concrete shape")
            shape.append(sizes[dim.name] if isinstance(dim, Dim) else dim)
        return tuple(shape)


@dataclass(frozen=True)
class Signature:
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def dims(self) -> dict[str, Dim]:
        """Every named dimension, in order of appearance."""
        return {dim.name: dim for spec in self.inputs for dim in spec.dynamic}


# ---------------------------------------------------------------------------------------------------------------
# What it was


@dataclass(frozen=True)
class Source:
    """Where the model came from."""

    path: str
    format: str
    sha256: str
    route: str = ""  # how it was captured: "torch.export", "TorchScript exporter", ...
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Captured:
    """The model as it enters the pipeline: a graph in the hub dialect and its signature."""

    model: ir.Model
    signature: Signature
    source: Source


class Inside(Protocol):
    """PyTorch's own values in the midst of the program that was exported."""

    def values(self, inputs: Arrays, *, precise: bool) -> Arrays:
        """What the exported program computes, outputs included, under the names that the graph has for it."""
        ...

    def modules(self, inputs: Arrays, *, precise: bool) -> Arrays:
        """What goes into the user's modules in eager mode, and what comes out, in the order in which it is computed."""
        ...

    def exported_modules(self, inputs: Arrays) -> Arrays:
        """The same of the exported program, under the same names, as far as its modules can be told."""
        ...

    def line(self, what: str) -> str:
        """The line of Python that one of these comes from."""
        ...


# ---------------------------------------------------------------------------------------------------------------
# Backends


@dataclass(frozen=True)
class Unavailable:
    reason: str
    remedy: str


@dataclass(frozen=True)
class Route:
    """How a target reaches a precision that the model is not written in.

    By the graph: the target builds from the graph in that precision. By an option: it builds from the float32 graph,
    with these options beside the user's own, and its runtime rounds by itself where that graph would.
    """

    by: Literal["graph", "option"] = "graph"
    options: Mapping[str, str] = field(default_factory=dict)
    signed: bool = False  # int8 takes activations as signed bytes around zero only
    wide: Mapping[str, str] = field(default_factory=dict)  # operators that stay in float32 there, and why

    def joined(self, other: Route) -> Route:
        """The way to both in one graph."""
        by: Literal["graph", "option"] = "option" if "option" in (self.by, other.by) else "graph"
        return Route(by, {**self.options, **other.options}, self.signed or other.signed, {**self.wide, **other.wide})


@dataclass(frozen=True)
class Ready:
    """The target can be built here. `runs` is False where it can only be built."""

    version: str
    devices: tuple[str, ...]
    precisions: tuple[str, ...] = ("float32",)
    runs: bool = True
    note: str = ""
    routes: Mapping[str, Route | Unavailable] = field(default_factory=dict)  # of precisions beside float32

    @property
    def reached(self) -> tuple[str, ...]:
        """The precisions that a model may be written in, and then those that `--precision` leads to."""
        further = (name for name, route in self.routes.items() if isinstance(route, Route))
        return tuple(dict.fromkeys((*self.precisions, *further)))

    def route(self, precision: str) -> Route | Unavailable:
        """How this target reaches a precision here, or why it does not."""
        if precision == "float32":
            return Route()
        return self.routes.get(precision) or Unavailable("it has no way to it", "another --target, or float32")


Probe = Ready | Unavailable


@dataclass(frozen=True)
class Legality:
    """What a backend takes, as data: everything of the listed domains up to their opset, less `refuses`.

    A refused operator is expanded through the ONNX schema's own function body; one without a body is an error
    that names the reason given here.
    """

    opsets: Mapping[str, int]
    refuses: Mapping[str, str] = field(default_factory=dict)  # "OpType" or "domain::OpType" -> why
    dtypes: Mapping[str, str] = field(default_factory=dict)  # refused element type -> why


@dataclass(frozen=True)
class Coverage:
    """What a target makes of a model before anything is built: how many nodes of each operator it takes."""

    as_is: Mapping[str, int]
    expanded: Mapping[str, int]  # taken through the body that ONNX defines the operator with
    refused: Mapping[str, str] = field(default_factory=dict)  # operator or element type -> why
    where: str = ""  # the refused nodes, and the lines of Python that they come from
    taken: bool = True  # the model as a whole


@dataclass(frozen=True)
class Artifact:
    """What a backend built. `files` are relative to the folder it was built in; the first is the entry."""

    target: str
    files: tuple[str, ...]
    runtime: str  # "onnxruntime 1.31.1"
    signature: Signature
    precision: str = "float32"  # what it computes in, read back from the runtime where it tells
    options: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


class Session(Protocol):
    """A loaded artifact. Safe to call from several threads; results never alias each other or the inputs."""

    @property
    def effective(self) -> Mapping[str, Any]:
        """What it actually runs at: providers or device, precision, threads."""
        ...

    def __call__(self, inputs: Arrays) -> dict[str, Array]: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Bounded(Protocol):
    """A session that can be stopped when it does not answer in time."""

    def within(self, seconds: float | None, inputs: Arrays) -> dict[str, Array]: ...


class Closing:
    """Leaving the block closes; for everything that implements `close`."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Backend(Protocol):
    """One target. Its methods `build` and `open` run in a child process while compiling."""

    name: str

    def probe(self) -> Probe:
        """Never raises."""
        ...

    @property
    def legality(self) -> Legality: ...

    def options(self) -> Mapping[str, str]:
        """The runtime options a user may set, each with one line of help."""
        ...

    def passes(self) -> Sequence[Any]:
        """This target's own graph passes, in order (onnx_ir.passes.PassBase)."""
        ...

    def build(self, graph: Path, signature: Signature, options: Mapping[str, Any], out: Path) -> Artifact:
        """From a legal graph in an ONNX file to native files below `out`. It may move `graph` there."""
        ...

    def open(self, artifact: Artifact, folder: Path, options: Mapping[str, Any]) -> Session: ...


@dataclass(frozen=True)
class OperatorTime:
    """One step of a runtime within a call, as its own profiler tells it."""

    name: str  # the runtime's
    operator: str  # the runtime's word for what it does
    seconds: float
    nodes: tuple[str, ...] = ()  # what it computes of the graph that was built from: names of nodes, or of values
    bytes: int | None = None  # that it reads and writes, where the runtime tells


@runtime_checkable
class Profiling(Protocol):
    """A backend whose runtime tells how long each of its steps takes."""

    def profile(
        self, artifact: Artifact, folder: Path, options: Mapping[str, Any], inputs: Arrays, calls: int
    ) -> Sequence[OperatorTime]:
        """Of one call, from so many."""
        ...


# ---------------------------------------------------------------------------------------------------------------
# Progress and history


@dataclass(frozen=True)
class PassRecord:
    """What one pass did."""

    name: str
    modified: bool
    nodes_before: int
    nodes_after: int
    bytes_before: int
    bytes_after: int
    seconds: float
    declined: tuple[str, ...] = ()
    operators: Mapping[str, int] = field(default_factory=dict)  # how many more of each there are now, or fewer


@dataclass(frozen=True)
class PassPlan:
    """What the user asked of the passes."""

    choice: str = "default"  # --passes
    dump: Path | None = None  # --dump-passes
    paranoid: bool = False
    expect: Mapping[str, int] = field(default_factory=dict)  # operator -> how many the optimized graph must hold


class Progress(Protocol):
    """How the driver tells a person what it is doing."""

    def stage(self, name: str, detail: str = "") -> None: ...

    def note(self, text: str) -> None: ...


Check = Callable[[Arrays], dict[str, Array]]


class SilentProgress:
    def stage(self, name: str, detail: str = "") -> None:
        pass

    def note(self, text: str) -> None:
        pass


# ---------------------------------------------------------------------------------------------------------------
# Element types: one vocabulary for the whole tool

DTYPES: tuple[str, ...] = (
    "float32", "float64", "float16", "bfloat16",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "bool", "complex64", "complex128", "string",
)  # fmt: skip


def dtype_name(dtype: Any) -> str:
    """numpy's or ml_dtypes' name of an element type, in our vocabulary."""
    name = np.dtype(dtype).name
    return "string" if name.startswith(("str", "object")) else name
