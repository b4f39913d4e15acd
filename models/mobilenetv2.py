"""MobileNetV2: inverted residuals, depthwise convolutions and ReLU6."""

import torch
from torch import nn

# expansion, channels, blocks, stride of the first block
_STAGES = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
_SMALL_STAGES = [(1, 8, 1, 1), (6, 16, 2, 2), (6, 24, 2, 2)]


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = expansion * inputs
        widen = _conv_norm(inputs, hidden, 1, act=True) if expansion != 1 else nn.Identity()
        depthwise = _conv_norm(hidden, hidden, 3, stride, groups=hidden, act=True)
        self.body = nn.Sequential(widen, depthwise, _conv_norm(hidden, outputs, 1, act=False))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.residual else self.body(x)


class MobileNetV2(nn.Module):
    def __init__(self, stages: list[tuple[int, int, int, int]], stem: int, head: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv_norm(3, stem, 3, 2, act=True)]
        channels = stem
        for expansion, outputs, blocks, first_stride in stages:
            for block in range(blocks):
                layers.append(InvertedResidual(channels, outputs, expansion, first_stride if block == 0 else 1))
                channels = outputs
        layers.append(_conv_norm(channels, head, 1, act=True))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(head, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


def _conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, *, act: bool) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(conv.weight)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6() if act else nn.Identity())


def build() -> tuple[nn.Module, list[str]]:
    return _mobilenet(_STAGES, stem=32, head=1280), ["x:float32[batch=1..8,3,224,224]"]


def small() -> tuple[nn.Module, list[str]]:
    return _mobilenet(_SMALL_STAGES, stem=8, head=64), ["x:float32[batch=1..8,3,64,64]"]


def _mobilenet(stages: list[tuple[int, int, int, int]], stem: int, head: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = MobileNetV2(stages, stem, head, classes=1000).eval()
        # Fresh biases and means are 0, scales and variances 1: a pass that lost one would still look right.
        for tensor in model.state_dict().values():
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model
