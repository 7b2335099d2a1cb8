"""A configuration while it is being typed: its schema, what is wrong with it, what it would do."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from timelapse.config.model import json_schema
from timelapse.report.config_documents import TypedConfig
from timelapse.report.config_view import MOST_TEXT, Guess, check_typed
from timelapse_plugins.api.access import service_of
from timelapse_plugins.api.answers import answer, encoded
from timelapse_plugins.inner import Caller

router = APIRouter(prefix="/config")

Count = Annotated[int, Query(ge=1, le=10**9)]
_USUAL = Guess()


@router.get("/schema", response_model=dict[str, Any])
async def schema(request: Request) -> Response:
    """Return the JSON schema of a configuration: every field, its type, default and meaning."""
    return answer(request, encoded(json_schema()))


@router.get("/check", response_model=TypedConfig)
async def check(
    request: Request,
    config: Annotated[str, Query(max_length=MOST_TEXT, description="The configuration, as YAML.")] = "",
    rows: Annotated[Count, Query(description="Rows to train on.")] = _USUAL.rows,
    row_tokens: Annotated[Count, Query(description="Tokens of a row.")] = _USUAL.row_tokens,
    samples: Annotated[Count, Query(description="Samples of a set from a file.")] = _USUAL.samples,
    prompt_tokens: Annotated[Count, Query(description="Tokens of a prompt.")] = _USUAL.prompt_tokens,
    answer_tokens: Annotated[Count, Query(description="Tokens of an answer.")] = _USUAL.answer_tokens,
) -> Response:
    """Return what is wrong with a configuration, by field and line, and what it would do.

    No file that it names is looked at, nothing of it is imported or started.
    """
    service = service_of(request)
    await service.admit(Caller.of(request.scope))
    guess = Guess(rows, row_tokens, samples, prompt_tokens, answer_tokens)
    body = await service.data.compute(lambda: encoded(check_typed(config, guess)))
    return answer(request, body)
