"""Hugging Face folders: nothing is downloaded, and no code of theirs runs untrusted."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile_files import refused
from loaded import is_settled
from safetensors.torch import load_file, save_file
from shrink import architectures, sampled_types, tiny_model

from compiler.errors import CompileError, UnavailableError
from compiler.frontend.loaders.huggingface import load_huggingface


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
