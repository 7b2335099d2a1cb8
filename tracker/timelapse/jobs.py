"""Which job a run belongs to, as the environment claims it.

This module also loads in every MLflow process, through the plug-in `timelapse_plugins.context`: it imports
the standard library and `timelapse.names`, nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from timelapse import names

LONGEST_TAG = 8000
"""MLflow's limit for the value of a tag, in characters."""
_TAGS = {names.JOB_ID: names.TAG_JOB, names.JOB_USER_ID: names.TAG_JOB_USER}


def job_tags(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the tags that say which job and whose a run is; empty outside a job.

    `JOB_ID` becomes `timelapse.job_id`, `JOB_USER_ID` becomes `timelapse.job_user_id`, each only if it is not
    blank. Whoever starts a program can set them to anything: they are claims, and nothing may be allowed
    or refused because of them.

    Args:
        environment: The environment variables; those of this process if not given.
    """
    given = os.environ if environment is None else environment
    claims = {tag: _storable(given.get(variable, "")) for variable, tag in _TAGS.items()}
    return {tag: value for tag, value in claims.items() if value}


def _storable(value: str) -> str:
    """Return a value as MLflow's stores take it: they raise at a NUL and at bytes that are no UTF-8."""
    text = value.encode(errors="replace").decode().replace("\0", "")
    return text.strip()[:LONGEST_TAG]
