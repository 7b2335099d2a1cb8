"""What makes an answer right: as the run says, else as the built-in scores do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from timelapse.analysis.learning import Right
from timelapse.reading.choice import DEFAULT_SCORE
from timelapse.scoring.builtin import SCORERS


def deciding(manifest: Mapping[str, Any], scores: Iterable[str]) -> Right | None:
    """Return the score by which a run's answers are right, and from which value on.

    Args:
        manifest: The run's manifest; a `right` in it that is not as we write it counts as absent.
        scores: The names of the scores that the answers have, in their order.
    """
    told = manifest.get("right")
    told = told if isinstance(told, dict) else {}  # a manifest may be anybody's
    score, least = told.get("score"), told.get("least")
    if isinstance(score, str) and isinstance(least, int | float):
        return Right(score, float(least))
    stored = dict.fromkeys(scores)
    for name in (DEFAULT_SCORE, *stored):
        if name in stored and name in SCORERS and (built_in := SCORERS[name].right) is not None:
            return Right(name, built_in)
    return None
