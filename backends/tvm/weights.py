"""Constants outside of the library, in one file that is mapped and not read.

Inside of the library TVM would hold every weight several times while linking (1.3 GB for 200 MB of them) and copy all
of them when loading. So the constants of `main` become its last argument, a tuple, and lie in a file of their own: each
at a multiple of 64 bytes, which vector instructions want.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.contracts import Array

if TYPE_CHECKING:
    import tvm

_ALIGNMENT = 64


@dataclass(frozen=True)
class Weight:
    dtype: str
    shape: tuple[int, ...]
    offset: int


def lift(module: tvm.IRModule, entries: Sequence[str], pool: Pool) -> tvm.IRModule:
    """The module with `entries` taking all that is in the pool by then as a last argument, a tuple."""
    from tvm import relax
    from tvm.relax.expr_functor import PyExprMutator, mutator

    @mutator
    class Replace(PyExprMutator):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(module)
            self.fetched: dict[int, Any] = {}

        def visit_generic_const_(self, constant: Any) -> Any:
            place = pool.place(constant)
            if place not in self.fetched:
                self.fetched[place] = relax.Var(f"weight{place}", constant.ty)
            return self.fetched[place]

    replaced = []
    for name in entries:
        replace = Replace()
        function = module[name]
        replaced.append((name, function, replace.visit_expr(function.body), replace.fetched))
    if not pool.arrays:
        return module
    for name, function, body, fetched in replaced:
        bundle = relax.Var("weights", relax.TupleType(pool.types))
        bindings = [relax.VarBinding(var, relax.TupleGetItem(bundle, place)) for place, var in fetched.items()]
        whole = relax.SeqExpr([relax.BindingBlock(bindings), *body.blocks], body.body)
        made = relax.Function([*function.params, bundle], whole, function.ret_ty, function.is_pure, function.attrs)
        module.update_func(module.get_global_var(name), made)
    return relax.transform.Normalize()(module)


class Pool:
    """The constants of one program or several. Those of equal content are one."""

    def __init__(self) -> None:
        self.arrays: list[Array] = []
        self.types: list[Any] = []
        self._by_content: dict[tuple[Any, ...], int] = {}

    def place(self, constant: Any) -> int:
        array = np.from_dlpack(constant.value)
        key = (array.dtype.name, array.shape, hashlib.sha256(np.ascontiguousarray(array).data).digest())
        if key not in self._by_content:
            self._by_content[key] = len(self.arrays)
            self.arrays.append(array)
            self.types.append(constant.ty)
        return self._by_content[key]


def write(arrays: Sequence[Array], data: Path, index: Path) -> None:
    entries, offset = [], 0
    with data.open("wb") as file:
        for array in arrays:
            file.write(bytes(-offset % _ALIGNMENT))
            offset += -offset % _ALIGNMENT
            entries.append(Weight(array.dtype.name, array.shape, offset))
            file.write(np.ascontiguousarray(array).data)
            offset += array.nbytes
        if offset == 0:
            file.write(bytes(_ALIGNMENT))  # an empty file cannot be mapped
    index.write_text(json.dumps([asdict(entry) for entry in entries]), encoding="utf-8")


def read(data: Path, index: Path) -> list[Array]:
    """Views of the mapped file. The map is private: what writes to it by mistake changes no file."""
    entries = [Weight(**entry) for entry in json.loads(index.read_text(encoding="utf-8"))]
    with data.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    return [_view(mapped, entry) for entry in entries]


def _view(mapped: mmap.mmap, entry: Weight) -> Array:
    dtype = _dtype(entry.dtype)
    count = int(np.prod(entry.shape, dtype=np.int64))
    return np.frombuffer(mapped, dtype, count, entry.offset).reshape(entry.shape)


def _dtype(name: str) -> Any:
    if name == "bfloat16":
        import ml_dtypes

        return ml_dtypes.bfloat16
    return np.dtype(name)
