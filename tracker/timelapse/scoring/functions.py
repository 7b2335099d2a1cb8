"""Checks that users write: functions of an answer, by their import path."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

from timelapse.errors import ConfigError
from timelapse.fence import attempt
from timelapse.hints import nearest
from timelapse.scoring.checks import Made, shown
from timelapse.scoring.findings import Finding
from timelapse.scoring.imports import imported
from timelapse.scoring.strict_json import plain


def function_check(path: str, options: Mapping[str, Any], name: str) -> Made:
    """Return the check of a user's function `module:function`, which gets the options as keyword arguments.

    True, None and texts without content pass; False is one finding; a text or texts are the findings.

    Raises:
        ConfigError: It cannot be imported, is no function, or does not take these options.
    """
    kept = plain(options, f"The options of the validator '{path}'")
    function = imported(path, "validator")
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise ConfigError(
            f"The validator '{path}' is {shown(function)}. Expected a function, and no coroutine."
        )
    signature, _error = attempt(partial(inspect.signature, function))  # functions written in C may have none
    if signature is not None:
        try:
            signature.bind("", **kept)
        except TypeError as error:
            raise ConfigError(
                f"The validator '{path}' cannot be called with an answer and these options "
                f"({', '.join(kept) or 'none'}): {error}.{_nearest_option(kept, signature)}"
            ) from error

    def check(text: str) -> Sequence[Finding]:
        return [Finding("$", each) for each in _complaints(function(text, **deepcopy(kept)), name)]

    return check, kept


def _nearest_option(given: Mapping[str, Any], signature: inspect.Signature) -> str:
    known = list(signature.parameters)[1:]
    return next((nearest(option, known) for option in given if option not in known), "")


def _complaints(result: Any, name: str) -> list[str]:
    if result is None or result is True:
        return []
    if result is False:
        return [f"did not pass the check '{name}'"]
    texts = [result] if isinstance(result, str) else result
    if not isinstance(texts, list | tuple) or not all(isinstance(each, str) for each in texts):
        raise TypeError(f"it returned {shown(result)}; expected True, False, None, a text or a list of texts")
    return [each for each in texts if each.strip()]
