"""A graph network: every node gathers the mean and the maximum of what its neighbours send along the edges."""

import torch
from torch import nn
from torch.nn import functional as F


class GraphLayer(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.message = nn.Linear(2 * inputs, outputs)
        self.update = nn.Linear(inputs + 2 * outputs, outputs)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: torch.Tensor, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        messages = F.relu(self.message(torch.cat([x[source], x[target]], dim=1)))
        to = target.unsqueeze(1).expand_as(messages)
        # Messages are not negative, so 0 is also the maximum over no neighbours at all.
        nothing = messages.new_zeros(x.shape[0], messages.shape[1])
        largest = nothing.scatter_reduce(0, to, messages, "amax")
        count = messages.new_zeros(x.shape[0]).scatter_reduce(0, target, messages.new_ones(target.shape[0]), "sum")
        mean = nothing.scatter_reduce(0, to, messages, "sum") / count.clamp(min=1).unsqueeze(1)
        return F.relu(self.norm(self.update(torch.cat([x, mean, largest], dim=1))))


class GraphNet(nn.Module):
    def __init__(self, features: int, width: int, layers: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(GraphLayer(features if layer == 0 else width, width) for layer in range(layers))
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        source, target = edge_index.unbind(0)
        for layer in self.layers:
            x = layer(x, source, target)
        return self.classifier(x)


def build() -> tuple[nn.Module, list[str]]:
    return _gnn(features=128, width=256, layers=3), _inputs(features=128)


def small() -> tuple[nn.Module, list[str]]:
    return _gnn(features=16, width=32, layers=2), _inputs(features=16)


def _inputs(features: int) -> list[str]:
    return [f"x:float32[nodes=8..512,{features}]", "edge_index:int64[2,edges=8..2048]"]


def _gnn(features: int, width: int, layers: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = GraphNet(features, width, layers, classes=7).eval()
        # A fresh scale is 1 and its bias 0: a pass that lost one would still look right.
        for tensor in model.state_dict().values():
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model
