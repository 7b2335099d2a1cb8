"""The files of our pages: read once, found by name only, kept by browsers while they stay the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse, Response

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable

    from starlette.requests import Request

FOLDERS = {"report": "timelapse.report", "plugin": "timelapse_plugins"}
"""The folders of an address below `static/`, and the packages whose folder `static` they show."""

_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
    ".json": "application/json",
}
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class File:
    """A file of a page."""

    content: bytes
    """Its bytes."""
    media_type: str
    """What goes into Content-Type."""
    etag: str
    """Digest of the bytes, in quotes."""


class StaticFiles:
    """All files of our pages, by the names `report/…` and `plugin/…`.

    An address may name `version` before a file. All files come from the same version then, since they name
    each other relatively, and a browser need not ask for them again.
    """

    def __init__(self, folders: Mapping[str, str] = FOLDERS) -> None:
        self._files = {
            name: _read(file) for top, package in folders.items() for name, file in _found(package, top)
        }

    @cached_property
    def version(self) -> str:
        """Digest of all files."""
        lines = (f"{name} {file.etag}\n" for name, file in sorted(self._files.items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]

    def address(self, name: str) -> str:
        """Return the address of a file below `/timelapse/`."""
        return f"static/{self.version}/{name}"

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def respond(self, name: str, request: Request) -> Response:
        """Return the answer to a request for a file, whose name may begin with a version."""
        version, _, rest = name.partition("/")
        pinned = version == self.version
        file = self._files.get(rest if pinned else name)
        if file is None:
            return PlainTextResponse("There is no such file.", 404)
        headers = {"etag": file.etag, "cache-control": _FOR_EVER if pinned else "no-cache"}
        if file.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers=headers, media_type=file.media_type)


def _found(package: str, top: str) -> Iterator[tuple[str, Traversable]]:
    def below(folder: Traversable, path: str) -> Iterator[tuple[str, Traversable]]:
        for entry in folder.iterdir():
            if entry.is_dir():
                yield from below(entry, f"{path}/{entry.name}")
            elif _suffix(entry.name) in _TYPES:
                yield f"{path}/{entry.name}", entry

    root = files(package) / "static"
    if root.is_dir():
        yield from below(root, top)


def _read(file: Traversable) -> File:
    content = file.read_bytes()
    return File(content, _TYPES[_suffix(file.name)], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def _suffix(name: str) -> str:
    return name[name.rfind(".") :] if "." in name else ""
