"""Exported programs that run code. Each attack is first shown to work on torch, then refused."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile_files import refused, written
from torch import nn

from compiler.errors import CompileError
from compiler.frontend.hostile.expressions import is_arithmetic
from compiler.frontend.hostile.pt2 import check_pt2
from compiler.frontend.loaders.exported import load_exported


class Evil:
    """Unpickling it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "it-ran"


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x).relu()


@pytest.fixture(scope="module")
def exported() -> dict[str, bytes]:
    """The members of an honest .pt2 with a dynamic dimension."""
    batch = torch.export.Dim("batch", min=2, max=8)
    program = torch.export.export(Net(), (torch.ones(3, 3),), dynamic_shapes={"x": {0: batch}})
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def rebuilt(folder: Path, members: dict[str, bytes]) -> Path:
    return written(folder / "evil.pt2", {f"archive/{name}": data for name, data in members.items()})


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def edited(members: dict[str, bytes], member: str, edit: Callable[[Any], None]) -> None:
    value = json.loads(members[member])
    edit(value)
    members[member] = json.dumps(value).encode()


def everywhere(value: Any, key: str) -> list[dict[str, Any]]:
    """Every table that has this key."""
    found = []
    if isinstance(value, dict):
        found = [value] if key in value else []
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            found += everywhere(inner, key)
    return found


WEIGHTS, CONSTANTS = "data/weights/model_weights_config.json", "data/constants/model_constants_config.json"
PROGRAM = "models/model.json"


def in_sample_inputs(members, marker):
    members["data/sample_inputs/model.pt"] = saved(((Evil(marker),), {}))


def in_legacy_sample_inputs(members, marker):
    buffer = io.BytesIO()
    torch.save(((Evil(marker),), {}), buffer, _use_new_zipfile_serialization=False)
    members["data/sample_inputs/model.pt"] = buffer.getvalue()


def in_weight(members, marker):
    members["data/weights/weight_0"] = saved(Evil(marker))
    edited(members, WEIGHTS, lambda table: table["config"]["linear.weight"].update(use_pickle=True))


def in_constant(members, marker):
    members["data/constants/tensor_0"] = saved(Evil(marker))
    entry = {"path_name": "tensor_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    edited(members, CONSTANTS, lambda table: table["config"].update(x=entry))


def in_opaque_object(members, marker):
    members["data/constants/opaque_obj_0"] = pickle.dumps(Evil(marker))
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    edited(members, CONSTANTS, lambda table: table["config"].update(x=entry))


def in_legacy_weights(members, marker):
    members["data/weights/model.pt"] = saved(Evil(marker))


def in_legacy_constants(members, marker):
    members["data/constants/model.pt"] = saved(Evil(marker))


def in_size(members, marker):
    code = f" + 0*open({str(marker)!r}, 'w').fileno()"
    edited(
        members,
        PROGRAM,
        lambda program: [table.update(expr_str=table["expr_str"] + code) for table in everywhere(program, "expr_str")],
    )


def in_guard(members, marker):
    guard = f"__import__('os').system('touch {marker}') == 0"
    edited(members, PROGRAM, lambda program: program.update(guards_code=[guard]))


def in_placeholder(members, marker):
    name = f"x = __import__('os').system('touch {marker}')"
    members[PROGRAM] = members[PROGRAM].replace(b'"x"', json.dumps(name).encode())


def in_enum_of_outputs(members, marker):
    import_module_of_ours(marker)
    context = json.dumps({"__enum__": True, "fqn": "imported_by_a_model:x", "name": "y"})
    spec = [1, {"type": "builtins.list", "context": context, "children_spec": []}]
    edit_out_spec(members, spec)


def in_defaultdict_of_outputs(members, marker):
    import_module_of_ours(marker)
    context = {"default_factory_module": "imported_by_a_model", "default_factory_name": "x", "dict_context": []}
    edit_out_spec(members, [1, {"type": "collections.defaultdict", "context": context, "children_spec": []}])


def import_module_of_ours(marker: Path) -> None:
    (marker.parent / "imported_by_a_model.py").write_text(f"open({str(marker)!r}, 'w')\nx = dict\n")


def edit_out_spec(members: dict[str, bytes], spec: Any) -> None:
    edited(
        members,
        PROGRAM,
        lambda program: [table.update(out_spec=json.dumps(spec)) for table in everywhere(program, "out_spec")],
    )


ATTACKS = [
    in_sample_inputs, in_legacy_sample_inputs, in_weight, in_constant, in_opaque_object, in_legacy_weights,
    in_legacy_constants, in_size, in_guard, in_placeholder, in_enum_of_outputs, in_defaultdict_of_outputs,
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
@pytest.mark.filterwarnings("ignore")
def test_exported_program_that_runs_code(attack, exported, marker, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    members = dict(exported)
    attack(members, marker)
    path = rebuilt(tmp_path, members)

    refused(check_pt2, path)
    refused(load_exported, path)
    assert not marker.exists(), "our check ran it"

    try:
        torch.export.load(path).module()(torch.ones(3, 3))
    except (RuntimeError, TypeError, ValueError, AssertionError, SyntaxError, pickle.UnpicklingError, LookupError):
        pass
    except torch._export.verifier.SpecViolationError:
        pass
    finally:
        sys.modules.pop("imported_by_a_model", None)
    assert marker.exists(), "torch no longer falls for this: the check may have become needless"


def operator(members, marker):
    def edit(program):
        node = program["graph_module"]["graph"]["nodes"][0]
        node["target"] = "torch.os.system"
        node["inputs"] = [{"name": "command", "arg": {"as_string": f"touch {marker}"}, "kind": 1}]

    edited(members, PROGRAM, edit)


def file_operator(members, marker):
    edited(
        members,
        PROGRAM,
        lambda program: program["graph_module"]["graph"]["nodes"][0].update(target="torch.ops.aten.from_file.default"),
    )


def attribute_getter(members, marker):
    edited(
        members,
        PROGRAM,
        lambda program: program["graph_module"]["graph"]["nodes"][0].update(target="_operator.attrgetter"),
    )


def node_name(members, marker):
    members[PROGRAM] = members[PROGRAM].replace(b'"linear"', b'"linear = 1; linear"')


def argument_name(members, marker):
    edited(
        members,
        PROGRAM,
        lambda program: [
            table.update(forward_arg_names=["x=print()"]) for table in everywhere(program, "forward_arg_names")
        ],
    )


def parameter_name(members, marker):
    members[PROGRAM] = members[PROGRAM].replace(b'"linear.weight"', b'"linear\\").weight"')


def text_input(members, marker):
    edited(
        members,
        PROGRAM,
        lambda program: program["graph_module"]["graph"]["inputs"].append({"as_string": "' or print() or '"}),
    )


def payload_elsewhere(members, marker):
    edited(
        members,
        WEIGHTS,
        lambda table: [entry.update(path_name="../../extra/x") for entry in table["config"].values()],
    )


def native_code(members, marker):
    members["data/aotinductor/model/x.so"] = b"\x7fELF"


def custom_object(members, marker):
    members["data/constants/custom_obj_0"] = b""


def unknown_member(members, marker):
    members["data/new/thing"] = b""


def script_in_sample_inputs(members, marker):
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(Net()), buffer)
    members["data/sample_inputs/model.pt"] = buffer.getvalue()


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize(
    "attack",
    [
        operator, file_operator, attribute_getter, node_name, argument_name, parameter_name, text_input,
        native_code, custom_object, unknown_member, script_in_sample_inputs,
    ],
    ids=lambda attack: attack.__name__,
)  # fmt: skip
def test_exported_program_that_no_exporter_writes(attack, exported, marker, tmp_path):
    members = dict(exported)
    attack(members, marker)
    refused(check_pt2, rebuilt(tmp_path, members))


@pytest.mark.parametrize("member", [PROGRAM, WEIGHTS, CONSTANTS])
@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"config": []}', b"\xff", b"[" * 100_000])
def test_exported_program_with_damaged_parts(member, text, exported, tmp_path):
    path = rebuilt(tmp_path, {**exported, member: text})
    with pytest.raises(CompileError):
        load_exported(path)


def test_payload_that_is_not_there(exported, tmp_path):
    members = dict(exported)
    payload_elsewhere(members, tmp_path)
    refused(check_pt2, rebuilt(tmp_path, members), "does not hold", "truncated-file")


class Branches(nn.Module):
    def forward(self, x, *, mode="max", scale, extra):
        y = torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x - 1, (x,))
        y = torch.nn.functional.interpolate(y[None, None], scale_factor=2.0)
        pairs = torch.einsum("ij,kj->ik", x, x).reshape(-1)
        return {"a.b": y * scale, "n": x.shape[0] * 2 + 1}, [pairs, torch.arange(x.shape[0] // 2 + 3), extra["u"]]


@pytest.mark.filterwarnings("ignore")
def test_honest_programs_pass(tmp_path):
    x, auto = torch.randn(4, 3), torch.export.Dim.AUTO
    lstm, sequence = nn.LSTM(3, 5, batch_first=True), torch.randn(2, 4, 3)
    transformer = nn.Transformer(8, 2, 1, 1, 16, batch_first=True).eval()
    programs = [
        torch.export.export(
            Branches(),
            (x,),
            {"scale": 3, "extra": {"u": x, "v.w": x}},
            dynamic_shapes={"x": {0: auto}, "scale": None, "extra": {"u": {0: auto}, "v.w": None}},
        ),
        torch.export.export(lstm, (sequence,), dynamic_shapes={"input": {0: auto, 1: auto}}),
        torch.export.export(transformer, (torch.randn(2, 5, 8), torch.randn(2, 3, 8))),
    ]
    for program in programs:
        with (tmp_path / "model.pt2").open("wb") as stream:
            torch.export.save(program, stream)
        args, kwargs = program.example_inputs
        expected = program.module()(*args, **kwargs)
        torch.testing.assert_close(load_exported(tmp_path / "model.pt2").module()(*args, **kwargs), expected)


@pytest.mark.parametrize(
    "text",
    [
        "s77", "2*s0 + 1", "Symbol('s77', positive=True, integer=True)", "Max(1, s0)", "-int_oo", "u0 >= 0",
        "Add(Mul(Integer(2), Symbol('s0', integer=True)), Integer(-1))", "Pow(Symbol('s0'), Integer(2))",
        "FloorDiv(Symbol('s0'), Integer(2))", "Float('0.5', precision=53)", "And(Eq(s0, 1), s1 < 4)", "s0**2",
        "Pow(Symbol('s0'), Rational(1, 2))", "OpaqueUnaryFn_sqrt(s0)",
    ],
)  # fmt: skip
def test_arithmetic(text):
    assert is_arithmetic(text)
    assert is_arithmetic(text, over_inputs=True)


@pytest.mark.parametrize(
    "text",
    [
        "L['x'].size()[0] <= 8", "(L['args'][0][1].size()[0] // 2) != 1", "math.ceil(L['x'].size()[1] / 2) == 3",
        "torch.sym_float(L['k']) > 0.5", "math.isnan(L['k'])", "L['x'].stride()[0] == 1 and L['k'] == 3",
        "max(L['x'].size()[0], 1) < math.inf",
    ],
)  # fmt: skip
def test_guards(text):
    assert is_arithmetic(text, over_inputs=True)
    assert not is_arithmetic(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('x')", "open('x', 'w')", "eval('1')", "().__class__", "x.__class__", "'text'",
        "[c for c in ()]", "(lambda: 1)()", "f'{x}'", "x := 1", "9**9**9", "(9**64)**64", "Pow(9, Pow(9, 9))",
        "LShift(1, 10000000000)", "1 << 10000000000", "s0**(10**9)", "L['x'].size", "L['x'].tolist()", "math.os",
        "L[x]", "L['a\"b'].size()[0]", "torch.load('x')", "torch.sym_int.__globals__", "L['x'].size(*y)", "print(1)",
        "Symbol('s0', **x)", "Symbol('__import__(1)')", "Float('1' * 9)", "max(1, key=print)", "", "x\ny", "x;y",
        "(" * 500 + ")" * 500, "-" * 15_000 + "1", "1+" * 9_000 + "1", "x" * 30_000, "\0", "math.inf.real", "*x", "...",
    ],
)  # fmt: skip
def test_not_arithmetic(text):
    assert not is_arithmetic(text, over_inputs=True) or text == "1+" * 9_000 + "1"
