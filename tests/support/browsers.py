"""A page that is watched in whatever origin it lies, a file among them, and a small server of files."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_WATCH = """
  globalThis.pwned = [];
  globalThis.violations = [];
  addEventListener('securitypolicyviolation', (event) => {
    violations.push(`${event.violatedDirective} ${event.blockedURI}`);
  });
"""


@dataclass
class Watched:
    """A page, with all that went wrong in it and all that it asked for."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def check(self, *origins: str) -> None:
        """Nothing was complained about, nothing ran, and nobody else was asked."""
        assert self.errors == []
        for frame in self.page.frames:
            assert frame.evaluate("[pwned, violations, Object.keys(Object.prototype)]") == [[], [], []]
        allowed = ("file:", "blob:", "data:", "about:", *origins)
        assert [url for url in self.requests if not url.startswith(allowed)] == []


def watched(browser: Browser, width: int = 1400, height: int = 900, theme: str = "light") -> Watched:
    """A new page that is watched from its first line on."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)  # type: ignore[arg-type]
    page.add_init_script(_WATCH)
    seen = Watched(page)
    page.on("console", lambda line: seen.errors.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: seen.errors.append(error.stack or str(error)))
    page.on("dialog", lambda dialog: (seen.errors.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: seen.requests.append(request.url))
    return seen


Answer = tuple[int, Mapping[str, str], bytes]


@contextmanager
def served(answer: Callable[[str, Mapping[str, str]], Answer]) -> Iterator[str]:
    """Serve what `answer(path, headers)` returns as status, headers and body; yields the origin."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answer(self.path, self.headers)  # type: ignore[arg-type]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
