"""Factories: the user's own code that builds a model."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from loaded import is_settled

from compiler.errors import CompileError, PlumblineError, UnavailableError, UsageError
from compiler.frontend.loaders.factory import build_from_factory, load_factory

FACTORIES = """
import torch
from torch import nn
import helper_of_factories

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.linear = nn.Linear(3, width)

def plain(): return Net()
def with_spec(): return Net(), "x:float32[1,3]"
def with_specs(): return Net(), ["x:float32[batch,3]", "y:int64[2]"]
def with_tensor(): return Net(), torch.ones(1, 3)
def with_args(): return Net(), (torch.ones(1, 3), 4)
def with_kwargs(): return Net(), {"x": torch.ones(1, 3)}
def with_both(): return Net(), (torch.ones(1, 3),), {"scale": 2}
def needs(width, *, depth): return Net(width)
def optional(width=2, *rest, **more): return Net(width)
def nothing(): pass
def pair_of_nothing(): return 1, 2
def odd(): return Net(), 7
def raises():
    return Net(width=-1)
def exits(): raise SystemExit(2)
class Zoo:
    @staticmethod
    def small(): return Net(1)
instance = Net()
number = 3
"""


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my net.py").write_text(FACTORIES)
    (tmp_path / "helper_of_factories.py").write_text("")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path / "my net.py"
    sys.modules.pop("helper_of_factories", None)


@pytest.mark.parametrize(
    ("name", "specs", "args", "kwargs"),
    [
        ("plain", (), 0, []),
        ("with_spec", ("x:float32[1,3]",), 0, []),
        ("with_specs", ("x:float32[batch,3]", "y:int64[2]"), 0, []),
        ("with_tensor", (), 1, []),
        ("with_args", (), 2, []),
        ("with_kwargs", (), 0, ["x"]),
        ("with_both", (), 1, ["scale"]),
        ("optional", (), 0, []),
        ("Net", (), 0, []),
        ("Zoo.small", (), 0, []),
        ("instance", (), 0, []),
    ],
)
def test_factory(name, specs, args, kwargs, factories):
    built = build_from_factory(load_factory(f"{factories}:{name}"))
    assert type(built.module).__name__ == "Net"
    assert is_settled(built.module)
    assert (built.specs, len(built.args), list(built.kwargs)) == (specs, args, kwargs)


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("plane", "no-such-factory", "did you mean 'plain'?"),
        ("zzzzzz", "no-such-factory", "it defines Net, plain"),
        ("Zoo.smal", "no-such-factory", "did you mean 'small'?"),
        ("number", "not-callable", "it is a int"),
        ("needs", "factory-arguments", "width, depth"),
        ("nothing", "factory-result", "it returned None"),
        ("pair_of_nothing", "factory-result", "(a int, a int)"),
        ("odd", "factory-result", "a int"),
        ("raises", "factory-raised", "RuntimeError"),
        ("exits", "factory-import-failed", "exit(2)"),
    ],
)
def test_factory_errors(name, code, text, factories):
    with pytest.raises(PlumblineError) as caught:
        build_from_factory(load_factory(f"{factories}:{name}"))
    assert caught.value.code == code
    assert text in f"{caught.value.why} {caught.value.hint}"


def test_the_line_that_raised_is_named(factories):
    with pytest.raises(CompileError) as caught:
        build_from_factory(load_factory(f"{factories}:raises"))
    line = next(number for number, text in enumerate(FACTORIES.splitlines(), 1) if "nn.Linear(3, width)" in text)
    assert f"{factories}:{line}" in (caught.value.where or "")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("import nowhere_to_be_found\n", "nowhere_to_be_found"),
        ("x = (\n", "SyntaxError"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("raise SystemExit\n", "exit"),
    ],
)
def test_a_file_that_fails_to_import(source, text, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "broken.py").write_text(source)
    with pytest.raises(CompileError) as caught:
        load_factory(f"{tmp_path / 'broken.py'}:make")
    assert caught.value.code == "factory-import-failed"
    assert text in (caught.value.why or "")
    assert not [name for name in sys.modules if name.startswith("_plumbline_user_broken")]


def test_a_file_that_is_not_there(factories):
    with pytest.raises(UsageError) as caught:
        load_factory(f"{factories.parent / 'my met.py'}:plain")
    assert caught.value.code == "no-such-file"
    assert "my net.py" in (caught.value.hint or "")


def test_module_references(factories, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "zoo_of_nets"
    package.mkdir()
    (package / "small.py").write_text(FACTORIES)
    assert build_from_factory(load_factory("zoo_of_nets.small:plain")).module
    for reference, code in {
        "zoo_of_net.small:plain": "no-such-module",
        "zoo_of_nets.large:plain": "factory-import-failed",
        "zoo_of_nets.small:plan": "no-such-factory",
    }.items():
        with pytest.raises(PlumblineError) as caught:
            load_factory(reference)
        assert caught.value.code == code


def test_a_module_of_ours_is_never_taken_for_theirs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "backends").mkdir()
    (tmp_path / "backends" / "net.py").write_text(FACTORIES)
    (tmp_path / "uses.py").write_text("from backends.net import plain\n")
    for reference in ("backends.net:plain", f"{tmp_path / 'uses.py'}:plain"):
        with pytest.raises(UsageError) as caught:
            load_factory(reference)
        assert caught.value.code == "ambiguous-module"


def test_the_search_path_of_others_comes_first(factories):
    before = list(sys.path)
    load_factory(f"{factories}:plain")
    assert sys.path[: len(before)] == before


def test_a_factory_where_torch_is_not_installed(factories, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UnavailableError) as caught:
        load_factory(f"{factories}:plain")
    assert caught.value.code == "missing-extra"
    assert "plumbline[compile]" in caught.value.hint
