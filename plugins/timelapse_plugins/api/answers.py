"""Answers: JSON from documents, entity tags from content, and 304 where nothing is new."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.requests import Request

JSON = "application/json"


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def encoded(document: Any) -> bytes:
    """Return a document as JSON; numbers that are not finite become null."""
    kind: Any = type(document)
    return _adapter(kind).dump_json(document)


def entity_tag(content: bytes | str) -> str:
    """Return the entity tag of a content, or of a text that says which content it is."""
    raw = content.encode() if isinstance(content, str) else content
    return f'"{hashlib.sha256(raw).hexdigest()[:32]}"'


def answer(request: Request, body: bytes, tag: str | None = None) -> Response:
    """Return a JSON answer, or 304 if the caller has it already; whoever calls this has authorised them."""
    tag = tag or entity_tag(body)
    return not_modified(request, tag) or Response(body, 200, {"etag": tag}, JSON)


def attachment(request: Request, body: bytes, media_type: str, name: str) -> Response:
    """Return a file to be saved under a name of ASCII letters, or 304 if the caller has it already."""
    tag = entity_tag(body)
    headers = {"etag": tag, "content-disposition": f'attachment; filename="{name}"'}
    return not_modified(request, tag) or Response(body, 200, headers, media_type)


def not_modified(request: Request, tag: str) -> Response | None:
    """Return the answer that nothing has changed, if the caller's `If-None-Match` says so."""
    given = request.headers.get("if-none-match", "")
    known = re.findall(r'"[^"]*"', given)
    return Response(None, 304, {"etag": tag}) if tag in known or given.strip() == "*" else None
