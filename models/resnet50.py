"""ResNet-50: bottleneck blocks of convolution, BatchNorm and ReLU around a residual."""

import torch
from torch import nn
from torch.nn import functional as F


class Bottleneck(nn.Module):
    """The stride sits on the 3x3 convolution, as in the widely used variant v1.5."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.reduce = _conv_norm(inputs, width, 1)
        self.spatial = _conv_norm(width, width, 3, stride)
        self.expand = _conv_norm(width, outputs, 1)
        self.shortcut = _conv_norm(inputs, outputs, 1, stride) if (inputs, stride) != (outputs, 1) else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.reduce(x))
        y = F.relu(self.spatial(y))
        return F.relu(self.expand(y) + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, depths: list[int], width: int, classes: int) -> None:
        super().__init__()
        self.stem = _conv_norm(3, width, 7, 2)
        blocks, channels = [], width
        for stage, depth in enumerate(depths):
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(Bottleneck(channels, width << stage, stride))
                channels = 4 * (width << stage)
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.stem(x)), 3, stride=2, padding=1)
        x = F.adaptive_avg_pool2d(self.blocks(x), 1)
        return self.classifier(x.flatten(1))


def _conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    # A centred filter ignores the mean that ReLU leaves; else, fifty layers down, all images give one answer.
    conv.weight.data -= conv.weight.data.mean((1, 2, 3), keepdim=True)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def build() -> tuple[nn.Module, list[str]]:
    return _resnet(depths=[3, 4, 6, 3], width=64), ["x:float32[batch=1..8,3,224,224]"]


def small() -> tuple[nn.Module, list[str]]:
    return _resnet(depths=[2, 2], width=8), ["x:float32[batch=1..8,3,64,64]"]


def _resnet(depths: list[int], width: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = ResNet(depths, width, classes=1000).eval()
        # Fresh biases and means are 0, scales and variances 1: a pass that lost one would still look right.
        for tensor in model.state_dict().values():
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model
