"""Files of weights, and putting them into the module they were trained in."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
from hostile_files import refused
from loaded import Net, Tied, is_settled
from safetensors.torch import save_file
from torch import nn

from compiler.errors import CompileError
from compiler.frontend.detect import Format
from compiler.frontend.loaders.fill import fill
from compiler.frontend.loaders.pickled import load_pickled
from compiler.frontend.loaders.statedict import StateDict, load_state_dict


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_state_dict(kind, tmp_path):
    state = Net().state_dict()
    path = tmp_path / "model"
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    loaded = load_state_dict(path, Format.SAFETENSORS if kind == "safetensors" else Format.STATE_DICT)
    assert loaded.notes == ()
    assert loaded.tensors.keys() == state.keys()
    torch.testing.assert_close(loaded.tensors, dict(state))


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict"])
def test_checkpoint_is_unwrapped(wrapper, tmp_path):
    torch.save({"epoch": 3, wrapper: Net().state_dict(), "optimizer": {"lr": 0.1}}, tmp_path / "c.pt")
    loaded = load_state_dict(tmp_path / "c.pt", Format.STATE_DICT)
    assert loaded.tensors.keys() == Net().state_dict().keys()
    assert wrapper in loaded.notes[0]
    assert "optimizer" in loaded.notes[0]


@pytest.mark.parametrize("value", [{"epoch": 3}, [1, 2], torch.ones(3), {}, {"state_dict": {}}])
def test_no_state_dict(value, tmp_path):
    torch.save(value, tmp_path / "c.pt")
    refused(lambda path: load_state_dict(path, Format.STATE_DICT), tmp_path / "c.pt", "it holds", "not-a-state-dict")


def test_weights_that_would_run_code(tmp_path):
    marker = tmp_path / "it-ran"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {marker}",)

    for zipped in (True, False):
        torch.save({"w": torch.ones(1), "x": Evil()}, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
        refused(lambda path: load_state_dict(path, Format.STATE_DICT), tmp_path / "w.pt", "system", "untrusted-pickle")
        refused(lambda path: load_pickled(path, trust=False), tmp_path / "w.pt", "system", "untrusted-pickle")
        assert not marker.exists()


def test_damaged_weights(tmp_path):
    torch.save(Net().state_dict(), tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    data = (tmp_path / "w.pt").read_bytes()
    for length in (20, len(data) // 2, len(data) - 10):
        (tmp_path / "w.pt").write_bytes(data[:length])
        with pytest.raises(CompileError) as caught:
            load_state_dict(tmp_path / "w.pt", Format.STATE_DICT)
        assert caught.value.why


def test_fill():
    weights = Net().state_dict()
    with torch.device("meta"):
        module = Net()
    assert fill(module, StateDict(weights)) == ()
    assert is_settled(module)
    assert module.linear.weight.data_ptr() == weights["linear.weight"].data_ptr(), "not copied"


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_fill_takes_prefixes_off(prefix):
    weights = {prefix + name: tensor for name, tensor in Net().state_dict().items()}
    module = Net()
    notes = fill(module, StateDict(weights, ("earlier",)))
    assert notes[0] == "earlier"
    assert prefix.partition(".")[0] in notes[1]
    torch.testing.assert_close(module.linear.bias.data, weights[prefix + "linear.bias"])


def test_fill_keeps_a_prefix_that_the_module_has():
    wrapped = nn.ModuleDict({"module": Net()})
    assert fill(wrapped, StateDict(wrapped.state_dict())) == ()


def test_fill_keeps_tied_weights_tied():
    weights = torch.ones(5, 3)
    for names in (["embed.weight"], ["head.weight"], ["embed.weight", "head.weight"]):
        module = Tied()
        fill(module, StateDict(dict.fromkeys(names, weights)))
        assert module.head.weight is module.embed.weight
        assert module.head.weight.data_ptr() == weights.data_ptr()
        assert is_settled(module)


def test_fill_converts_to_what_the_module_asks():
    module = Net()
    notes = fill(module, StateDict({name: tensor.half() for name, tensor in Net().state_dict().items()}))
    assert module.linear.weight.dtype == torch.float32
    assert "float16 to float32" in notes[0]


def test_fill_loads_checkpoints_from_before_num_batches_tracked():
    state = nn.BatchNorm1d(3).state_dict()
    fill(nn.BatchNorm1d(3), StateDict({name: tensor for name, tensor in state.items() if "num" not in name}))


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        ({"linear.weight": torch.ones(4, 3)}, "1 missing: linear.bias"),
        ({**Net().state_dict(), "extra": torch.ones(1)}, "1 unexpected: extra"),
        ({**Net().state_dict(), **{f"extra{index}": torch.ones(1) for index in range(9)}}, "and 4 more"),
        (Net(5).state_dict(), "linear.weight is [5, 3] where [4, 3] is wanted"),
        ({"a.b": torch.ones(1), "c": torch.ones(1)}, "2 missing"),
        ({}, "2 missing"),
    ],
)
def test_fill_refuses_what_does_not_fit(weights, why):
    with pytest.raises(CompileError) as caught:
        fill(Net(), StateDict(weights))
    assert caught.value.code == "weights-do-not-fit"
    assert why in (caught.value.why or "")


def test_fill_refuses_to_leave_tensors_without_values():
    class Cached(Net):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.arange(3.0), persistent=False)

    with torch.device("meta"):
        module = Cached()
    with pytest.raises(CompileError, match="without values") as caught:
        fill(module, StateDict(Net().state_dict()))
    assert "table" in (caught.value.why or "")
