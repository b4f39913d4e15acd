"""From a checked file to a live object: modules that are set for inference, or an error a user can act on."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from hostile_files import refused
from onnx import numpy_helper
from safetensors.torch import load_file, save_file
from shrink import architectures, sampled_types, tiny_model
from torch import nn

from compiler.errors import CompileError, PlumblineError, UnavailableError, UsageError
from compiler.frontend.detect import Format
from compiler.frontend.loaders.exported import load_exported
from compiler.frontend.loaders.factory import build_from_factory, load_factory
from compiler.frontend.loaders.fill import fill
from compiler.frontend.loaders.huggingface import load_huggingface
from compiler.frontend.loaders.onnx import load_onnx
from compiler.frontend.loaders.pickled import load_pickled
from compiler.frontend.loaders.statedict import StateDict, load_state_dict
from compiler.frontend.loaders.torchscript import TracedInput, load_torchscript

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit")


class Net(nn.Module):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.linear = nn.Linear(3, width)
        self.dropout = nn.Dropout()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.linear(x))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight


def is_settled(module: nn.Module) -> bool:
    return not module.training and not any(parameter.requires_grad for parameter in module.parameters())


# -- exported programs and TorchScript --------------------------------------------------------------------------


def test_exported(tmp_path):
    module, x = Net().eval(), torch.randn(2, 3)
    for name in ("model.pt2", "model.bin"):
        with (tmp_path / name).open("wb") as stream:
            torch.export.save(torch.export.export(module, (x,)), stream)
        program = load_exported(tmp_path / name)
        torch.testing.assert_close(program.module()(x), module(x))
        torch.testing.assert_close(program.example_inputs[0][0], x)


def test_exported_under_another_name(tmp_path):
    from torch.export.pt2_archive._package import package_pt2

    with (tmp_path / "model.pt2").open("w+b") as stream:
        package_pt2(stream, exported_programs={"encoder": torch.export.export(Net().eval(), (torch.ones(1, 3),))})
    error = refused(load_exported, tmp_path / "model.pt2", "encoder", "unreadable-model")
    assert "model" in error.message


def test_exported_by_a_newer_torch(tmp_path):
    import zipfile

    buffer = io.BytesIO()
    torch.export.save(torch.export.export(Net().eval(), (torch.ones(1, 3),)), buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(tmp_path / "model.pt2", "w") as new:
        for name in old.namelist():
            new.writestr(name, b"99" if name.endswith("archive_version") else old.read(name))
    refused(load_exported, tmp_path / "model.pt2", "99", "unreadable-model")


def test_exported_program_that_returns_a_class_of_transformers(tmp_path, monkeypatch):
    from compiler.frontend.loaders import exported

    program = torch.export.export(tiny_model("bert", "BertModel"), (torch.ones(1, 5, dtype=torch.long),))
    with (tmp_path / "model.pt2").open("wb") as stream:
        torch.export.save(program, stream)
    imported: list[str] = []
    monkeypatch.setattr(exported.importlib, "import_module", imported.append)
    load_exported(tmp_path / "model.pt2")
    assert imported == ["transformers", "transformers.modeling_outputs"]

    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UnavailableError, match="transformers"):
        load_exported(tmp_path / "model.pt2")


@pytest.mark.parametrize("mode", ["traced", "scripted"])
def test_torchscript(mode, tmp_path):
    module, x = Net(), torch.randn(2, 3)
    script = torch.jit.trace(module.eval(), x) if mode == "traced" else torch.jit.script(module.train())
    script.save(tmp_path / "model.pt")
    loaded, inputs = load_torchscript(tmp_path / "model.pt")
    assert is_settled(loaded)
    torch.testing.assert_close(loaded(x), module.eval()(x))
    assert inputs == ([TracedInput("float32", (2, 3))] if mode == "traced" else None)


def test_traced_inputs_keep_their_structure(tmp_path):
    class Nested(nn.Module):
        def forward(self, ids, rest: dict[str, torch.Tensor], pair: tuple[torch.Tensor, torch.Tensor]):
            return ids + rest["a"] + pair[0] + pair[1]

    ones = torch.ones(2, 1)
    inputs = (ones.long(), {"a": ones.double()}, (ones.half(), ones.bool()))
    torch.jit.trace(Nested(), inputs).save(tmp_path / "model.pt")
    traced = {dtype: TracedInput(dtype, (2, 1)) for dtype in ("int64", "float64", "float16", "bool")}
    found = load_torchscript(tmp_path / "model.pt")[1]
    assert found == [traced["int64"], {"a": traced["float64"]}, (traced["float16"], traced["bool"])]


def test_torchscript_without_forward(tmp_path):
    torch.jit.script(nn.GRU(3, 4)).save(tmp_path / "model.pt")
    with pytest.raises(CompileError, match="no forward"):
        load_torchscript(tmp_path / "model.pt")


def test_damaged_torchscript(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "version", "code/x.py"):
            archive.writestr(f"model/{name}", b"3" if name == "version" else b"")
    with pytest.raises(CompileError) as caught:
        load_torchscript(tmp_path / "model.pt")
    assert caught.value.code == "unreadable-model"


# -- weights ----------------------------------------------------------------------------------------------------


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


# -- pickled modules --------------------------------------------------------------------------------------------


def test_pickled_module_needs_trust(tmp_path):
    torch.save(Net().train(), tmp_path / "model.pt")
    refused(lambda path: load_pickled(path, trust=False), tmp_path / "model.pt", "Net", "untrusted-pickle")
    module = load_pickled(tmp_path / "model.pt", trust=True)
    assert isinstance(module, Net)
    assert is_settled(module)


def test_pickled_module_in_a_checkpoint(tmp_path):
    torch.save({"epoch": 3, "model": Net()}, tmp_path / "model.pt")
    assert isinstance(load_pickled(tmp_path / "model.pt", trust=True), Net)


def test_trusted_weights(tmp_path):
    torch.save({"state_dict": Net().state_dict(), "args": Path("x")}, tmp_path / "model.pt")
    loaded = load_pickled(tmp_path / "model.pt", trust=True)
    assert isinstance(loaded, StateDict)
    assert loaded.tensors.keys() == Net().state_dict().keys()


def test_pickled_something_else(tmp_path):
    torch.save(Path("x"), tmp_path / "model.pt")
    refused(lambda path: load_pickled(path, trust=True), tmp_path / "model.pt", "Path", "not-a-module")


def test_pickled_module_whose_class_is_gone(tmp_path, monkeypatch):
    torch.save(Net(), tmp_path / "model.pt")
    monkeypatch.delattr(sys.modules[__name__], "Net")
    error = refused(lambda path: load_pickled(path, trust=True), tmp_path / "model.pt", "Net", "unreadable-model")
    assert "PYTHONPATH" in (error.hint or "")


# -- factories --------------------------------------------------------------------------------------------------

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


# -- Hugging Face -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    tiny_model("bert", "BertForSequenceClassification").save_pretrained(folder)
    return folder


@pytest.fixture
def folder(bert: Path, tmp_path: Path) -> Path:
    for file in bert.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def configured(folder: Path, **changes: Any) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


def untrusted(folder: Path) -> object:
    return load_huggingface(folder, trust=False)


def test_hugging_face(folder, capfd):
    model, facts = load_huggingface(folder, trust=False)
    assert type(model).__name__ == facts["architecture"] == "BertForSequenceClassification"
    assert facts["model_type"] == "bert"
    assert facts["dtype"] == "float32"
    assert is_settled(model)
    torch.testing.assert_close(dict(model.state_dict()), load_file(folder / "model.safetensors"))
    assert capfd.readouterr() == ("", "")


def test_hugging_face_settings_are_put_back(folder):
    from huggingface_hub import constants
    from transformers.utils import logging

    before = constants.HF_HUB_OFFLINE, logging.get_verbosity(), logging.is_progress_bar_enabled(), dict(os.environ)
    load_huggingface(folder, trust=False)
    assert before == (
        constants.HF_HUB_OFFLINE,
        logging.get_verbosity(),
        logging.is_progress_bar_enabled(),
        dict(os.environ),
    )


LEFT_OUT: list[str] = []


def left_out(why: str) -> None:
    LEFT_OUT.append(why)
    pytest.skip(why)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model_type", sampled_types(40, seed=7))
def test_sampled_architectures(model_type, tmp_path):
    names = architectures(model_type)
    if not names:
        left_out("a part of other models")
    try:
        model = tiny_model(model_type, names[0])
    except (ImportError, ValueError, TypeError, AttributeError, RuntimeError, LookupError) as error:
        left_out(f"its default configuration does not build: {str(error).strip().splitlines()[0]}")
    model.save_pretrained(tmp_path)
    try:
        loaded, _ = load_huggingface(tmp_path, trust=False)
    except CompileError:
        # A few classes ask for further files, or cannot report what they loaded.
        with pytest.raises((AttributeError, ValueError, OSError)):
            type(model).from_pretrained(tmp_path, output_loading_info=True)
        left_out("transformers itself cannot load what it saved")
    assert type(loaded) is type(model)
    torch.testing.assert_close(dict(loaded.state_dict()), dict(model.state_dict()), rtol=0, atol=0, equal_nan=True)


def test_few_sampled_architectures_were_left_out():
    """A change that made every one of them skip must not pass in silence."""
    assert len(LEFT_OUT) <= 12, LEFT_OUT


def test_decoders_forget_their_cache(tmp_path):
    tiny_model("llava", "LlavaForConditionalGeneration").save_pretrained(tmp_path)
    model, _ = load_huggingface(tmp_path, trust=False)
    assert model.config.text_config.use_cache is False


def test_half_precision_is_kept(tmp_path):
    tiny_model("gpt2", "GPT2LMHeadModel").half().save_pretrained(tmp_path)
    model, facts = load_huggingface(tmp_path, trust=False)
    assert facts["dtype"] == "float16"
    assert model.lm_head.weight is model.transformer.wte.weight


def test_sharded_weights(tmp_path):
    model = tiny_model("bert", "BertModel")
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    loaded, _ = load_huggingface(tmp_path, trust=False)
    torch.testing.assert_close(dict(loaded.state_dict()), dict(model.state_dict()))
    shard = next(tmp_path.glob("model-00002*"))
    shard.rename(tmp_path / "away")
    refused(untrusted, tmp_path, shard.name, "missing-file")


def test_pickled_weights(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert load_huggingface(folder, trust=False)[0]


def test_pickled_weights_that_run_code(folder):
    (folder / "model.safetensors").unlink()
    torch.save({"a": torch.ones(1), "x": Path("x")}, folder / "pytorch_model.bin")
    refused(untrusted, folder, "PosixPath")


def test_missing_weights_are_not_made_up(folder):
    weights = load_file(folder / "model.safetensors")
    weights.pop("classifier.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refused(untrusted, folder, "classifier.weight", "weights-do-not-fit")


def test_weights_of_another_shape(folder):
    configured(folder, hidden_size=96)
    with pytest.raises(CompileError):
        load_huggingface(folder, trust=False)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"auto_map": {"AutoModel": "modeling.Net"}}, "untrusted-code"),
        ({"auto_map": {"AutoModel": "somebody/else--modeling.Net"}}, "untrusted-code"),
        ({"text_config": {"auto_map": {"AutoModel": "modeling.Net"}}}, "untrusted-code"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantized-checkpoint"),
        ({"attn_implementation": "somebody/kernels"}, "unsafe-file"),
        ({"text_config": {"_attn_implementation": "somebody/kernels"}}, "unsafe-file"),
        ({"transformers_weights": "../../other.safetensors"}, "unsafe-file"),
        ({"model_type": "no-such-type"}, "unreadable-model"),
        ({"hidden_size": "wide"}, "unreadable-model"),
        ({"hidden_size": -4}, "unreadable-model"),
        ({"num_attention_heads": 7}, "unreadable-model"),
        ({"architectures": ["GPT2LMHeadModel"]}, "unreadable-model"),
    ],
)
def test_configurations_that_are_refused(changes, code, folder):
    refused(untrusted, configured(folder, **changes), code=code)


@pytest.mark.parametrize("names", [["NoSuchModel"], [], None, ["AutoModel"], ["__doc__"], "BertModel", [3]])
def test_unknown_architectures_fall_back_to_the_base_model(names, folder):
    model, _ = load_huggingface(configured(folder, architectures=names), trust=False)
    assert type(model).__name__ == "BertModel"


def test_trusted_code(folder):
    (folder / "modeling_mine.py").write_text(
        "from transformers import BertForSequenceClassification\nclass Mine(BertForSequenceClassification): pass\n"
    )
    auto = {"AutoModelForSequenceClassification": "modeling_mine.Mine"}
    configured(folder, auto_map=auto, architectures=["Mine"])
    model, _ = load_huggingface(folder, trust=True)
    assert type(model).__name__ == "Mine"


@pytest.mark.parametrize(
    ("file", "text", "code"),
    [
        ("adapter_config.json", "{}", "not-a-model"),
        (".metadata", "", "unsafe-file"),
        ("model.safetensors.index.json", '{"weight_map": {"a": "../secret"}}', "unsafe-file"),
        ("model.safetensors.index.json", '{"weight_map": {"a": 3}}', "unsafe-file"),
        ("model.safetensors.index.json", "{}", "unreadable-model"),
        ("model.safetensors", "not tensors at all", "unsafe-file"),
    ],
)
def test_folders_that_are_refused(file, text, code, folder):
    (folder / file).write_text(text)
    with pytest.raises(CompileError) as caught:
        load_huggingface(folder, trust=False)
    assert caught.value.code == code


def test_without_transformers(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UnavailableError) as caught:
        load_huggingface(folder, trust=False)
    assert "plumbline[hf]" in (caught.value.hint or "")


# -- ONNX -------------------------------------------------------------------------------------------------------


def test_onnx_with_external_data(tmp_path, monkeypatch):
    weights = torch.arange(6.0).reshape(2, 3).numpy()
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21, "local" : 1]>'
        " g (float[2,3] x) => (float[2,3] z) { y = Add(x, w)  z = local.f(y) }"
        ' <domain: "local", opset_import: ["" : 21]> f (a) => (b) { c = Constant<value = float {1}>()  b = Add(a, c) }'
    )
    inner = model.functions[0].node[0].attribute[0].t
    for name, array in (("w", weights), ("c", weights[:1, :1].reshape(()))):
        tensor = model.graph.initializer.add() if name == "w" else inner
        tensor.CopyFrom(numpy_helper.from_array(array, name))
        (tmp_path / name).write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=name)
    (tmp_path / "model.bin").write_bytes(model.SerializeToString())
    monkeypatch.chdir(tmp_path)
    loaded = load_onnx("model.bin")
    monkeypatch.chdir("/")
    assert (loaded.graph.initializers["w"].const_value.numpy() == weights).all()
    function = next(iter(loaded.functions.values()))
    assert function.graph.node(0).attributes["value"].value.numpy() == 0


def test_onnx_that_makes_no_sense(tmp_path):
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[N] x) => (float[N] y) { y = Relu(x) }'
    )
    model.graph.input[0].type.tensor_type.elem_type = 77
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CompileError) as caught:
        load_onnx(tmp_path / "model.onnx")
    assert caught.value.code == "unreadable-model"
