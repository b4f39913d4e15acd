"""A chart as SVG that can stand in the midst of a page: drawn by matplotlib, in the colours of the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from compiler.quiet import quiet
from compiler.report.html.markup import Markup, plain
from compiler.report.html.style import ACCENT, DIM, INK, LIGHT, RULE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 9.6  # inches

_SETTINGS: Mapping[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": LIGHT[RULE],
    "axes.facecolor": "none",
    "axes.labelcolor": LIGHT[DIM],
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": LIGHT[INK],
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "figure.facecolor": "none",
    "font.size": 9,
    "grid.color": LIGHT[RULE],
    "grid.linewidth": 0.6,
    "lines.color": LIGHT[ACCENT],
    "patch.edgecolor": LIGHT[INK],
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "plumbline",  # the same picture has the same names inside
    "text.color": LIGHT[INK],
    "text.parse_math": False,  # a name may have two dollars in it
    "xtick.color": LIGHT[DIM],
    "ytick.color": LIGHT[DIM],
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


@dataclass(frozen=True)
class Chart:
    """`description` says in words what is to be seen."""

    name: str
    title: str
    description: str
    height: float  # inches
    paint: Callable[[Figure], None]


def drawn(chart: Chart) -> Markup | None:
    """None where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    with quiet(), _settings():
        figure = Figure((WIDTH, chart.height), layout="constrained")
        chart.paint(figure)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata=_NO_METADATA)
    return _embedded(out.getvalue(), chart)


@contextmanager
def _settings() -> Iterator[None]:
    """Ours, whatever the user has set for pictures of his own."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def _embedded(document: str, chart: Chart) -> Markup:
    """Names that no other chart of the page has, colours by name, and nothing that belongs to a file alone."""
    root = ElementTree.fromstring(document)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
    for parent in root.iter():
        for child in [child for child in parent if child.tag in ("metadata", "style")]:
            parent.remove(child)
    used = {name for element in root.iter() for value in element.attrib.values() for name in _REFERENCE.findall(value)}
    for element in root.iter():
        name = element.attrib.pop("id", None)
        element.attrib = {key: _value(value, chart.name) for key, value in element.attrib.items()}
        if name in used:
            element.set("id", f"{chart.name}-{name}")
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-labelledby": _labels(chart)}
    for place, (kind, words) in enumerate((("title", chart.title), ("desc", chart.description))):
        told = ElementTree.Element(kind, id=f"{chart.name}-{kind}")
        told.text = plain(words)
        root.insert(place, told)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _labels(chart: Chart) -> str:
    return f"{chart.name}-title {chart.name}-desc"


_REFERENCE = re.compile(r"(?:^|\()#([\w.-]+)")
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_FONT = re.compile(r"font-family: [^;]*;?\s*")
_NAMES = {colour: name for name, colour in LIGHT.items()}


def _value(value: str, chart: str) -> str:
    named = _COLOUR.sub(lambda found: f"var(--{_NAMES[found[0]]})", value)
    return _FONT.sub("", re.sub(r"(^|\()#", rf"\g<1>#{chart}-", named))
