"""U-Net: a contracting and an expanding path joined by concatenation, for images of any size."""

from itertools import pairwise

import torch
from torch import nn


class UNet(nn.Module):
    def __init__(self, widths: list[int], classes: int) -> None:
        super().__init__()
        self.stem = _double_conv(3, widths[0])
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(nn.Sequential(nn.MaxPool2d(2), _double_conv(fine, coarse)) for fine, coarse in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, stride=2) for fine, coarse in reversed(pairs))
        self.join = nn.ModuleList(_double_conv(2 * fine, fine) for fine, _ in reversed(pairs))
        self.classifier = nn.Conv2d(widths[0], classes, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        scales = [self.stem(image)]
        for down in self.down:
            scales.append(down(scales[-1]))
        x = scales.pop()
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat([scales.pop(), up(x)], dim=1))
        return self.classifier(x)


def _double_conv(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        conv = nn.Conv2d(channels, outputs, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def build() -> tuple[nn.Module, list[str]]:
    return _unet([32, 64, 128, 256, 512]), ["image:float32[batch=1..4,3,h=16*8..24,w=16*8..24]"]


def small() -> tuple[nn.Module, list[str]]:
    return _unet([8, 16, 32]), ["image:float32[batch=1..4,3,h=4*4..16,w=4*4..16]"]


def _unet(widths: list[int]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = UNet(widths, classes=2).eval()
        # Fresh biases and means are 0, scales and variances 1: a pass that lost one would still look right.
        for tensor in model.state_dict().values():
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model
