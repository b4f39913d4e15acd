"""Pickled modules, which take the user's word."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from hostile_files import refused
from loaded import Net, is_settled

from compiler.frontend.loaders.pickled import load_pickled
from compiler.frontend.loaders.statedict import StateDict


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
    monkeypatch.delattr(sys.modules[Net.__module__], "Net")
    error = refused(lambda path: load_pickled(path, trust=True), tmp_path / "model.pt", "Net", "unreadable-model")
    assert "PYTHONPATH" in (error.hint or "")


def test_a_pickled_module_whose_class_lies_beside_it(tmp_path, monkeypatch):
    """As with factories, the folder of the file is searched last, and its modules stay importable."""
    (tmp_path / "beside_the_pickle.py").write_text("from torch import nn\nclass Beside(nn.Linear): pass\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    import beside_the_pickle

    torch.save(beside_the_pickle.Beside(2, 2), tmp_path / "model.pt")
    monkeypatch.delitem(sys.modules, "beside_the_pickle")
    monkeypatch.setattr(sys, "path", sys.path[:-1])
    assert type(load_pickled(tmp_path / "model.pt", trust=True)).__name__ == "Beside"
    assert sys.path[-1] == str(tmp_path)
