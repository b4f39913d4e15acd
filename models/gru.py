"""A streaming audio classifier: it takes a chunk of frames and the state of each GRU layer, and hands both on."""

import torch
from torch import nn


class StreamingGRU(nn.Module):
    def __init__(self, features: int, width: int, layers: int, classes: int) -> None:
        super().__init__()
        self.gru = nn.GRU(features, width, layers, batch_first=True)
        self.classifier = nn.Linear(width, classes)

    def forward(
        self, frames: torch.Tensor, state: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        outputs, last = self.gru(frames, torch.stack(state))
        return self.classifier(outputs), last.unbind(0)


def build() -> tuple[nn.Module, list[str]]:
    return _gru(features=80, width=512, layers=2), _inputs(features=80, width=512, layers=2)


def small() -> tuple[nn.Module, list[str]]:
    return _gru(features=16, width=32, layers=2), _inputs(features=16, width=32, layers=2)


def _inputs(features: int, width: int, layers: int) -> list[str]:
    states = [f"state.{layer}:float32[batch,{width}]" for layer in range(layers)]
    return [f"frames:float32[batch=1..8,time=1..100,{features}]", *states]


def _gru(features: int, width: int, layers: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return StreamingGRU(features, width, layers, classes=35).eval()
