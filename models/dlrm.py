"""A recommender (DLRM): bags of categories are embedded, crossed with the dense features, and scored."""

from itertools import pairwise

import torch
from torch import nn


class DLRM(nn.Module):
    def __init__(self, tables: int, rows: int, width: int, dense: int, bottom: list[int], top: list[int]) -> None:
        super().__init__()
        self.bags = nn.ModuleList(nn.EmbeddingBag(rows, width, mode="sum") for _ in range(tables))
        for bag in self.bags:
            nn.init.normal_(bag.weight, std=width**-0.5)
        self.bottom = _mlp([dense, *bottom, width])
        vectors = tables + 1
        self.top = _mlp([width + vectors * (vectors - 1) // 2, *top])
        self.score = nn.Linear(top[-1], 1)
        row, column = torch.tril_indices(vectors, vectors, offset=-1)
        self.register_buffer("pairs", row * vectors + column, persistent=False)

    def forward(self, dense: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        base = self.bottom(dense)
        embedded = [bag(categories[:, table]) for table, bag in enumerate(self.bags)]
        vectors = torch.stack([base, *embedded], dim=1)
        products = torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1)
        crossed = torch.cat([base, products[:, self.pairs]], dim=1)
        return torch.sigmoid(self.score(self.top(crossed))).squeeze(1)


def _mlp(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        linear = nn.Linear(inputs, outputs)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers)


def build() -> tuple[nn.Module, list[str]]:
    """26 tables and 13 dense features, as in the Criteo data, three categories in each bag."""
    return _dlrm(tables=26, rows=20000, width=32, dense=13, bottom=[256, 64], top=[256, 128]), [
        "dense:float32[batch=1..64,13]",
        "categories:int64[batch,26,3]",
    ]


def small() -> tuple[nn.Module, list[str]]:
    return _dlrm(tables=4, rows=100, width=8, dense=13, bottom=[32], top=[32]), [
        "dense:float32[batch=1..64,13]",
        "categories:int64[batch,4,3]",
    ]


def _dlrm(tables: int, rows: int, width: int, dense: int, bottom: list[int], top: list[int]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return DLRM(tables, rows, width, dense, bottom, top).eval()
