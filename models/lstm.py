"""A sequence tagger: embedding, bidirectional LSTM, one label per token."""

import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self, vocabulary: int, width: int, layers: int, tags: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True, bidirectional=True)
        self.classifier = nn.Linear(2 * width, tags)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        states, _ = self.lstm(self.embedding(input_ids))
        return self.classifier(states)


def build() -> tuple[nn.Module, list[str]]:
    return _tagger(vocabulary=20000, width=256, layers=2, tags=17), ["input_ids:int64[batch=1..8,seq=4..128]"]


def small() -> tuple[nn.Module, list[str]]:
    return _tagger(vocabulary=1000, width=32, layers=2, tags=17), ["input_ids:int64[batch=1..8,seq=4..32]"]


def _tagger(vocabulary: int, width: int, layers: int, tags: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return Tagger(vocabulary, width, layers, tags).eval()
