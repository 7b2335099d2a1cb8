"""The view modules in one HTML file: as texts that a small loader turns into modules, each under a blob: URL.

A file that is opened in a sandbox without an origin (MLflow's artifact view), or from disk, can import
nothing but blob: URLs; and only those and the loader, by its hash, may run at all.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

STATIC = Path(__file__).parent / "static"
"""Where the view modules lie."""

_IMPORT = re.compile(r"""(?<=from ')(\.{1,2}/[\w./-]+\.js)(?=')""")

# Turns each module's text into a blob, after those that it imports: their names in it become blob: URLs.
_LOADER = """\
const texts = JSON.parse(document.getElementById('modules').textContent);
const urls = {};
for (const [name, text] of texts) {
  const linked = text.replace(/(?<=from ')module:([^']+)(?=')/g, (_all, other) => urls[other]);
  urls[name] = URL.createObjectURL(new Blob([linked], { type: 'text/javascript' }));
}
import(urls[texts[texts.length - 1][0]]);
"""


def linked_modules(entry: str, folder: Path = STATIC) -> list[tuple[str, str]]:
    """Return a module and all that it imports, as names and texts, each behind those it needs.

    In the texts, what is imported is called `module:<name>`, with names relative to the folder.

    Raises:
        ValueError: Modules import each other in a circle.
    """
    found: dict[str, str] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise ValueError(f"modules import each other in a circle: {' -> '.join((*path, name))}")
        if name in found:
            return
        text = (folder / name).read_text("utf-8")
        base = (folder / name).parent

        def named(match: re.Match[str]) -> str:
            other = (base / match[0]).resolve().relative_to(folder.resolve()).as_posix()
            visit(other, (*path, name))
            return f"module:{other}"

        found[name] = _IMPORT.sub(named, text)

    visit(entry, ())
    return list(found.items())


def html_file(title: str, entry: str, styles: Sequence[str], data: Mapping[str, str]) -> str:
    """Return one HTML file that needs nothing else, and may load nothing else.

    Args:
        title: The page's title.
        entry: The module that is run.
        styles: Names of the style sheets.
        data: JSON texts by the id of the element that holds them.
    """
    sheets = [(STATIC / name).read_text("utf-8") for name in styles]
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash(_LOADER)} blob:",
            f"style-src {' '.join(map(_hash, sheets))}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    islands = {"modules": json.dumps(linked_modules(entry), ensure_ascii=False), **data}
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            *(f"<style>{sheet}</style>" for sheet in sheets),
            '</head>\n<body>\n<div id="app"></div>',
            "<noscript>This report needs JavaScript; it loads nothing from anywhere.</noscript>",
            *(
                f'<script type="application/json" id="{name}">{_in_script(text)}</script>'
                for name, text in islands.items()
            ),
            f'<script type="module">{_LOADER}</script>\n</body>\n</html>\n',
        )
    )


def _in_script(json_text: str) -> str:
    """Return JSON that cannot end the element that holds it."""
    return json_text.replace("<", "\\u003c")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
