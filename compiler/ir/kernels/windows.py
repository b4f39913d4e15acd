"""Where a sliding window lies: padding, strides and output sizes of convolutions and pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compiler.ir.kernels.support import Call


@dataclass(frozen=True)
class Windows:
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def reach(self) -> tuple[int, ...]:
        """The extent of a window, gaps included."""
        return tuple((size - 1) * gap + 1 for size, gap in zip(self.kernel, self.dilations, strict=True))


def windows_of(call: Call, kernel: Sequence[int], sizes: Sequence[int]) -> Windows:
    """The windows of a convolution or pool over the spatial `sizes`."""
    rank = len(kernel)
    strides = tuple(call.get("strides") or (1,) * rank)
    dilations = tuple(call.get("dilations") or (1,) * rank)
    pads = tuple(call.get("pads") or (0,) * 2 * rank)
    windows = Windows(tuple(kernel), strides, dilations, pads[:rank], pads[rank:])
    mode = call.get("auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        return windows
    if mode == "VALID":
        return Windows(tuple(kernel), strides, dilations, (0,) * rank, (0,) * rank)
    missing = [
        max(0, (-(-size // stride) - 1) * stride + reach - size)
        for size, stride, reach in zip(sizes, strides, windows.reach, strict=True)
    ]
    small, large = tuple(gap // 2 for gap in missing), tuple(gap - gap // 2 for gap in missing)
    before, after = (small, large) if mode == "SAME_UPPER" else (large, small)
    return Windows(tuple(kernel), strides, dilations, before, after)


def pooled_sizes(windows: Windows, sizes: Sequence[int], ceil_mode: bool) -> tuple[int, ...]:
    """How many windows there are on each axis."""
    counts = []
    for axis, size in enumerate(sizes):
        stride, before = windows.strides[axis], windows.before[axis]
        room = size + before + windows.after[axis] - windows.reach[axis]
        count = (-(-room // stride) if ceil_mode else room // stride) + 1
        # A window that would start in the padding at the far end does not count.
        if ceil_mode and (count - 1) * stride >= size + before:
            count -= 1
        counts.append(count)
    return tuple(counts)
