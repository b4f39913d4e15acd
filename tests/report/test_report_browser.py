"""A browser opens every page from the disk: it is complete, says nothing on its console, and asks for nothing.

Chromium is driven through its own command line, so that the test needs no package. Without one it is skipped, and says
so; the structure of the pages is tested all the same.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import report_data as pages

from compiler.report.html import bench, bundle

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = os.environ.get("PLUMBLINE_BROWSER") or next(filter(None, map(shutil.which, _NAMES)), None)

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium here (apt-get install chromium); the pages' structure is tested without one"
)

PAGES = {
    "bundle": lambda: bundle.html("net.onnxruntime", pages.manifest(), 60141, layers=pages.layers()),
    "auto": lambda: bundle.html("net.auto", pages.manifest(), 60141, choice=pages.choice()),
    "bench": lambda: bench.html("net", pages.bench()),
    "hostile": lambda: bundle.html(
        pages.HOSTILE, pages.manifest(pages.HOSTILE), 60141, layers=pages.layers(pages.HOSTILE),
        choice=pages.choice(pages.HOSTILE),
    ),
}  # fmt: skip


class Asked:
    """A server that writes down who asks for something; every request of the browser goes to it as to a proxy."""

    def __init__(self) -> None:
        self.for_what: list[str] = []
        keep = self.for_what

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                keep.append(self.path)
                self.send_error(404)

            def do_CONNECT(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def proxy() -> Iterator[Asked]:
    asked = Asked()
    yield asked
    asked.close()


def opened(page: str, folder: Path, proxy: Asked, *more: str) -> subprocess.CompletedProcess[str]:
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    assert BROWSER is not None
    return subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
         f"--user-data-dir={folder / 'profile'}", f"--proxy-server={proxy.address}", "--proxy-bypass-list=<-loopback>",
         "--enable-logging=stderr", "--v=0", "--virtual-time-budget=2000", *more, file.as_uri()],
        capture_output=True, text=True, timeout=180, check=True,
    )  # fmt: skip


_OWN = re.compile(r"//(?:[\w-]+\.)*(?:google|googleapis|gstatic|gvt1)\.com|(?:[\w-]+\.)*(?:google|googleapis)\.com:443")


def from_the_page(proxy: Asked) -> list[str]:
    """What the browser asks its maker for is not the page's doing."""
    return [what for what in proxy.for_what if not _OWN.search(what)]


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)


@pytest.mark.parametrize("name", PAGES)
def test_a_browser_finds_all_of_it_and_nothing_to_complain(name: str, proxy: Asked, tmp_path: Path) -> None:
    page = PAGES[name]()
    said = opened(page, tmp_path, proxy, "--dump-dom")
    assert "CONSOLE" not in said.stderr, said.stderr
    assert from_the_page(proxy) == []
    # The browser has read every element as it was written, and made none of its own out of something else.
    assert Elements(said.stdout).found == Elements(page).found


def test_the_console_and_the_proxy_would_tell(proxy: Asked, tmp_path: Path) -> None:
    bad = "<!DOCTYPE html><p>x</p><script>nothing()</script><img src='http://elsewhere.example/x.png'>"
    said = opened(bad, tmp_path, proxy, "--dump-dom")
    assert "CONSOLE" in said.stderr
    assert from_the_page(proxy) == ["http://elsewhere.example/x.png"]


def test_light_and_dark_are_drawn(proxy: Asked, tmp_path: Path) -> None:
    page = PAGES["auto"]()
    shots = []
    for scheme in ("1", "0"):  # Blink's numbers for light and dark
        shot = tmp_path / f"{scheme}.png"
        opened(page, tmp_path, proxy, f"--screenshot={shot}", f"--blink-settings=preferredColorScheme={scheme}")
        shots.append(_corner(shot))
    light, dark = shots
    assert min(light) > 250
    assert max(dark) < 40


def _corner(shot: Path) -> tuple[int, ...]:
    """The colour of the page."""
    import matplotlib.image

    pixels = matplotlib.image.imread(shot)
    return tuple(int(255 * float(value)) for value in pixels[0, 0, :3])
