"""What a pickle would import, told without running it.

A pickle is a program. `pickletools` reads its instructions; a small model of the unpickler's stack, in which only
strings are known, resolves the names that are built at run time. What cannot be resolved counts as foreign.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from typing import BinaryIO

from compiler.errors import CompileError

# A state dict costs some thirty instructions a tensor, so this is 300,000 tensors; reading them takes ten seconds.
MAX_INSTRUCTIONS = 10_000_000

# Module objects of old checkpoints carry their source along; nothing honest comes near this.
MAX_STRING = 64 * 1024 * 1024

_NUMBERS = ("BFloat16", "Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short")
_ONLY_STORED = ("ComplexDouble", "ComplexFloat", "QInt32", "QInt8", "QUInt2x4", "QUInt4x2", "QUInt8")
_DTYPES = (
    "bfloat16", "bool", "complex32", "complex64", "complex128", "float16", "float32", "float64",
    "float4_e2m1fn_x2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu",
    "int1", "int2", "int3", "int4", "int5", "int6", "int7", "int8", "int16", "int32", "int64",
    "uint1", "uint2", "uint3", "uint4", "uint5", "uint6", "uint7", "uint8", "uint16", "uint32", "uint64",
    "qint32", "qint8", "quint2x4", "quint4x2", "quint8", "bits16", "bits1x8", "bits2x4", "bits4x2", "bits8",
)  # fmt: skip
_REBUILDERS = (
    "_rebuild_device_tensor_from_cpu_tensor", "_rebuild_device_tensor_from_numpy",
    "_rebuild_meta_tensor_no_storage", "_rebuild_nested_tensor", "_rebuild_parameter",
    "_rebuild_parameter_with_state", "_rebuild_qtensor", "_rebuild_sparse_tensor", "_rebuild_tensor",
    "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_wrapper_subclass",
)  # fmt: skip

# The names that only ever rebuild tensors and plain containers: a part of what torch's own weights_only takes.
TENSOR_GLOBALS = frozenset(
    {
        *(f"torch.{number}Storage" for number in _NUMBERS + _ONLY_STORED),
        *(f"torch.cuda.{number}Storage" for number in (*_NUMBERS, "ComplexDouble", "ComplexFloat")),
        *(f"torch.{device}{number}Tensor" for number in _NUMBERS for device in ("", "cuda.")),
        *(f"torch.{dtype}" for dtype in _DTYPES),
        *(f"torch._utils.{rebuild}" for rebuild in _REBUILDERS),
        "torch._tensor._rebuild_from_type_v2",
        "torch.nn.parameter.Parameter",
        "torch.Tensor",
        "torch.Size",
        "torch.device",
        "torch.storage.TypedStorage",
        "torch.storage.UntypedStorage",
        "torch.serialization._get_layout",
        "torch.per_tensor_affine",
        "torch.per_tensor_symmetric",
        "torch.per_channel_affine",
        "torch.per_channel_symmetric",
        "torch.per_channel_affine_float_qparams",
        "collections.OrderedDict",
        "collections.Counter",
        # Protocol 2 writes Python 2's name of the module.
        *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("set", "complex", "bytearray")),
        "_codecs.encode",
    }
)

_UNRESOLVED = "a name computed while loading"
_MARK = object()
_OTHER = object()  # a value on the stack that is not a string


class _Machine:
    """The unpickler's stack and memo, with strings as themselves and everything else unknown."""

    def __init__(self) -> None:
        self.stack: list[object] = []
        self.memo: dict[int, object] = {}

    def pop(self) -> object:
        if not self.stack:
            raise ValueError("pops from an empty stack")
        return self.stack.pop()

    def pop_to_mark(self) -> None:
        while self.pop() is not _MARK:
            pass

    def remember(self, number: int) -> None:
        # Picklers count upwards; Python's unpickler allocates all the places below a large number.
        if number > MAX_INSTRUCTIONS or not self.stack:
            raise ValueError(f"remembers a value under the number {number:,}")
        self.memo[number] = self.stack[-1]

    def step(self, opcode: pickletools.OpcodeInfo, argument: object) -> str | None:
        """Follow one instruction; the name it imports, if it imports one."""
        match opcode.name:
            case "GLOBAL":
                self.stack.append(_OTHER)
                return _joined(argument)
            case "INST":
                self.pop_to_mark()
                self.stack.append(_OTHER)
                return _joined(argument)
            case "STACK_GLOBAL":
                name, module = self.pop(), self.pop()
                self.stack.append(_OTHER)
                return f"{module}.{name}" if isinstance(name, str) and isinstance(module, str) else _UNRESOLVED
            case "EXT1" | "EXT2" | "EXT4":
                self.stack.append(_OTHER)
                return f"extension code {argument}"
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.remember(int(str(argument)))
            case "MEMOIZE":
                self.remember(len(self.memo))
            case "GET" | "BINGET" | "LONG_BINGET":
                self.stack.append(self.memo.get(int(str(argument)), _OTHER))
            case "DUP":
                top = self.pop()
                self.stack += [top, top]
            case _:
                self.other(opcode, argument)
        return None

    def other(self, opcode: pickletools.OpcodeInfo, argument: object) -> None:
        before = opcode.stack_before
        if pickletools.markobject in before:
            self.pop_to_mark()
            before = before[: before.index(pickletools.markobject)]
        for _ in before:
            self.pop()
        for kind in opcode.stack_after:
            if kind is pickletools.markobject:
                self.stack.append(_MARK)
            else:
                self.stack.append(argument if isinstance(argument, str) and _is_text(opcode) else _OTHER)


def _is_text(opcode: pickletools.OpcodeInfo) -> bool:
    return "UNICODE" in opcode.name or "STRING" in opcode.name


def _joined(argument: object) -> str:
    module, space, name = str(argument).partition(" ")
    return f"{module}.{name}" if space and " " not in name else _UNRESOLVED


def imported_globals(stream: BinaryIO) -> Iterator[str]:
    """Every name that the next pickle of the stream imports; the stream is left behind its end."""
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count >= MAX_INSTRUCTIONS:
                raise CompileError(
                    "unsafe-file",
                    "this pickle is too long to be looked into",
                    why=f"it has more than {MAX_INSTRUCTIONS:,} instructions",
                    hint="save the weights as safetensors",
                )
            if isinstance(argument, str) and len(argument) > MAX_STRING:
                raise ValueError(f"holds a text of {len(argument):,} characters")
            imported = machine.step(opcode, argument)
            if imported is not None:
                yield imported
    except (ValueError, IndexError, OverflowError, MemoryError) as error:
        raise CompileError(
            "truncated-file",
            "the pickle in this file is damaged",
            why=str(error).partition("\n")[0] or "it asks for more memory than there is",
            hint="copy or download the file again",
        ) from error


def foreign_globals(stream: BinaryIO, allowed: frozenset[str] = TENSOR_GLOBALS) -> tuple[str, ...]:
    """What the next pickle of the stream imports beyond `allowed`, in order of appearance."""
    return tuple(dict.fromkeys(name for name in imported_globals(stream) if name not in allowed))
