"""An anchor-free detector that needs no NMS: a point is an object if no neighbour scores higher, and the best stay."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F


class Detector(nn.Module):
    """Three scales of a backbone, a top-down pyramid, one head for all of them."""

    strides = (8, 16, 32)

    def __init__(self, width: int, pyramid: int, classes: int, best: int) -> None:
        super().__init__()
        self.best = best
        self.stem = nn.Sequential(_conv(3, width, stride=2), _conv(width, width, stride=2))
        widths = [width, 2 * width, 4 * width, 8 * width]
        self.stages = nn.ModuleList(
            nn.Sequential(_conv(fine, coarse, stride=2), Residual(coarse)) for fine, coarse in pairwise(widths)
        )
        self.lateral = nn.ModuleList(nn.Conv2d(channels, pyramid, 1) for channels in widths[1:])
        self.tower = nn.Sequential(_conv(pyramid, pyramid), _conv(pyramid, pyramid))
        self.classify = nn.Conv2d(pyramid, classes, 3, padding=1)
        self.regress = nn.Conv2d(pyramid, 4, 3, padding=1)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        logits, boxes = [], []
        for scale, stride in zip(self.pyramid(image), self.strides, strict=True):
            features = self.tower(scale)
            logits.append(_only_peaks(self.classify(features)).flatten(2))
            boxes.append(_boxes(self.regress(features), stride).flatten(2))
        return self.decode(torch.cat(logits, 2), torch.cat(boxes, 2))

    def pyramid(self, image: torch.Tensor) -> list[torch.Tensor]:
        x = self.stem(image)
        scales = []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            x = stage(x)
            scales.append(lateral(x))
        for fine in (1, 0):
            scales[fine] = scales[fine] + F.interpolate(scales[fine + 1], scale_factor=2.0, mode="nearest")
        return scales

    def decode(self, logits: torch.Tensor, boxes: torch.Tensor) -> dict[str, torch.Tensor]:
        best, labels = logits.max(dim=1)
        # Ranked before the sigmoid, which would round neighbours into ties.
        best, points = best.topk(self.best, dim=1)
        return {
            "boxes": boxes.transpose(1, 2).gather(1, points.unsqueeze(-1).expand(-1, -1, 4)),
            "scores": best.sigmoid(),
            "labels": labels.gather(1, points),
        }


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(channels, channels // 2, kernel=1), _conv(channels // 2, channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.SiLU())


def _only_peaks(logits: torch.Tensor) -> torch.Tensor:
    peaks = F.max_pool2d(logits, 3, stride=1, padding=1)
    return torch.where(logits == peaks, logits, logits - 20.0)


def _boxes(distances: torch.Tensor, stride: int) -> torch.Tensor:
    """Left, top, right and bottom distances from each cell's centre, as corners in pixels."""
    height, width = distances.shape[-2:]
    y = (torch.arange(height, device=distances.device) + 0.5) * stride
    x = (torch.arange(width, device=distances.device) + 0.5) * stride
    y, x = torch.meshgrid(y, x, indexing="ij")
    left, top, right, bottom = (F.softplus(distances) * stride).unbind(1)
    return torch.stack([x - left, y - top, x + right, y + bottom], dim=1)


def build() -> tuple[nn.Module, list[str]]:
    return _detector(width=64, pyramid=128, classes=80, best=100), ["image:float32[batch=1..4,3,h=32*4..16,w=32*4..16]"]


def small() -> tuple[nn.Module, list[str]]:
    return _detector(width=8, pyramid=16, classes=5, best=10), ["image:float32[batch=1..4,3,h=32*2..4,w=32*2..4]"]


def _detector(width: int, pyramid: int, classes: int, best: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = Detector(width, pyramid, classes, best).eval()
        # Fresh biases and means are 0, scales and variances 1: a pass that lost one would still look right.
        for tensor in model.state_dict().values():
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model
