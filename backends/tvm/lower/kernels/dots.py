"""The instruction that a processor adds up products of bytes with.

One step takes a few neighbouring numbers of a row, the same for all lanes, and as many weights for each lane, and adds
their products to 32-bit sums. Nothing saturates: `vpmaddubsw` would, at 16 bits, and is not used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from tvm import tirx
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T

from backends.tvm.target import Machine


@dataclass(frozen=True)
class Dot:
    intrinsic: str
    lanes: int
    steps: int  # of the sum, taken at once
    data: str  # what a row's numbers are widened to before; the weights are int8

    @property
    def name(self) -> str:
        return f"plumbline.dot_{self.steps}x{self.lanes}"


# LLVM's feature, and what it brings; the first that the CPU has and that fills its vectors counts.
_KNOWN = (
    ("avx512vnni", Dot("llvm.x86.avx512.vpdpbusd.512", 16, 4, "uint8")),
    ("avxvnni", Dot("llvm.x86.avx512.vpdpbusd.256", 8, 4, "uint8")),
    ("avx512bw", Dot("llvm.x86.avx512.pmaddw.d.512", 16, 2, "int16")),
    ("avx2", Dot("llvm.x86.avx2.pmadd.wd", 8, 2, "int16")),
)


def dot_of(machine: Machine) -> Dot | None:
    fitting = (dot for feature, dot in _KNOWN if feature in machine.features and dot.lanes == machine.vector_lanes)
    return next(fitting, None)


@cache
def tensor_intrinsic(dot: Dot) -> str:
    """The name under which a schedule finds it."""
    lanes, steps, data = dot.lanes, dot.steps, dot.data
    sums = _four_bytes(dot) if steps == 4 else _two_words(dot)

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def meaning(row: T.handle, weights: T.handle, total: T.handle) -> None:
        a = T.match_buffer(row, (steps,), data, offset_factor=1)
        b = T.match_buffer(weights, (lanes, steps), "int8", offset_factor=1)
        c = T.match_buffer(total, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(c[0:lanes], a[0:steps], b[0:lanes, 0:steps])
            T.writes(c[0:lanes])
            for i in T.serial(0, lanes):
                for k in T.serial(0, steps):
                    with T.sblock("update"):
                        vi, vk = T.axis.remap("SR", [i, k])
                        c[vi] = c[vi] + T.cast(a[vk], "int32") * T.cast(b[vi, vk], "int32")

    @T.prim_func(s_tir=True)  # type: ignore[untyped-decorator]
    def instruction(row: T.handle, weights: T.handle, total: T.handle) -> None:
        a = T.match_buffer(row, (steps,), data, offset_factor=1)
        b = T.match_buffer(weights, (lanes, steps), "int8", offset_factor=1)
        c = T.match_buffer(total, (lanes,), "int32", offset_factor=1, scope="local")
        with T.sblock("root"):
            T.reads(c[0:lanes], a[0:steps], b[0:lanes, 0:steps])
            T.writes(c[0:lanes])
            c[T.ramp(T.int32(0), 1, lanes)] = sums(a, b, c)

    TensorIntrin.register(dot.name, meaning, instruction, override=True)
    return dot.name


def _four_bytes(dot: Dot) -> Callable[[Any, Any, Any], Any]:
    vector, count = f"int32x{dot.lanes}", 4 * dot.lanes

    def sums(a: Any, b: Any, c: Any) -> Any:
        row = tirx.Broadcast(tirx.reinterpret("int32", a.vload([0], "uint8x4")), dot.lanes)
        weights = b.vload([0, 0], f"int8x{count}")
        # LLVM 22 takes bytes, where earlier ones (and TVM's own intrinsics) have vectors of int32.
        row = tirx.reinterpret(f"uint8x{count}", row)
        return tirx.call_llvm_pure_intrin(vector, dot.intrinsic, c.vload([0], vector), row, weights)

    return sums


def _two_words(dot: Dot) -> Callable[[Any, Any, Any], Any]:
    vector, words = f"int32x{dot.lanes}", f"int16x{2 * dot.lanes}"

    def sums(a: Any, b: Any, c: Any) -> Any:
        pair = tirx.Broadcast(tirx.reinterpret("int32", a.vload([0], "int16x2")), dot.lanes)
        weights = tirx.Cast(words, b.vload([0, 0], f"int8x{2 * dot.lanes}"))
        products = tirx.call_llvm_pure_intrin(vector, dot.intrinsic, tirx.reinterpret(words, pair), weights)
        return c.vload([0], vector) + products

    return sums
