"""Judges by import path, `package.module:name`."""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

from timelapse.errors import ConfigError
from timelapse.fence import attempt, describe
from timelapse.hints import nearest


def imported(path: str, kind: str) -> Any:
    """Return what an import path names; `kind`, `scorer` or `validator`, is for the messages.

    Raises:
        ConfigError: The module cannot be imported, or has nothing of that name.
    """
    module, _, name = path.partition(":")
    found, error = attempt(partial(importlib.import_module, module))
    if found is None:
        assert error is not None
        raise ConfigError(
            f"The {kind} '{path}' cannot be imported: {describe(error)}. Expected my_package.my_module:"
            f"my_{kind}; the package must be installed, or its folder in PYTHONPATH."
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigError(
                f"The {kind} '{path}' cannot be imported: there is no '{part}' in "
                f"{getattr(found, '__name__', module)}.{nearest(part, dir(found))}"
            )
        found = getattr(found, part)
    return found
