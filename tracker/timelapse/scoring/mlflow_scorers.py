"""MLflow's own scorers (`mlflow.genai`), its functions and language-model judges, as scorers of ours."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from typing import Any

from timelapse.errors import ConfigError, ScorerError
from timelapse.scoring.scorer import Scorer

BUDGET = 120.0
"""How many seconds a judge may take in a round, unless the option `seconds` says otherwise."""

_WORDS = {"yes": 1.0, "no": 0.0, "true": 1.0, "false": 0.0, "pass": 1.0, "fail": 0.0}


def is_one(found: Any) -> bool:
    """Return whether something is a scorer of MLflow's; does not import MLflow to see that it is not."""
    base = sys.modules.get("mlflow.genai.scorers.base")
    return base is not None and isinstance(found, base.Scorer)


def adapted(found: Any, name: str | None, spec: Any, options: Mapping[str, Any]) -> Scorer:
    """Return MLflow's scorer as one of ours.

    It is given `inputs={"prompt": …}`, `outputs` (the answer) and, where there is a reference,
    `expectations={"expected_response": …}`. Truth values and `yes`/`no` become 1 and 0; several feedbacks
    several scores, `<name>_<feedback>`.

    Raises:
        ConfigError: It judges conversations or traces, which a training does not have.
    """
    if options:
        raise ConfigError(f"The scorer '{found.name}' takes no options: it is an object, not a class.")
    if getattr(found, "is_session_level_scorer", False):
        raise ConfigError(
            f"The scorer '{found.name}' judges whole conversations; a round has single answers."
        )

    def score(prediction: str, reference: str | None = None, prompt: str | None = None) -> Any:
        expectations = None if reference is None else {"expected_response": reference}
        result = found.run(inputs={"prompt": prompt or ""}, outputs=prediction, expectations=expectations)
        if isinstance(result, list):
            return {each.name: _value(each) for each in result}
        return _value(result)

    note = (
        f"The scorer '{name or found.name}' asks a language model about every answer of every round, which "
        f"may cost money; it may take {BUDGET:.0f} s a round (option `seconds`)."
        if hasattr(found, "model")
        else None
    )
    needs = _needs_reference(found)
    takes = ("prediction", "reference", "prompt") if needs else ("prediction", "prompt")
    return Scorer(
        name or found.name, score, spec, takes, by_name=True, budget=BUDGET, foreign=True, note=note
    )


def _needs_reference(found: Any) -> bool:
    """Return whether a scorer takes expectations; MLflow's built-in ones that do cannot do without."""
    parameter = inspect.signature(found.__call__).parameters.get("expectations")
    if parameter is None:
        return False
    return parameter.default is parameter.empty or found.kind.value == "builtin"


def _value(result: Any) -> float | None:
    error = getattr(result, "error", None)
    if error is not None:
        raise ScorerError(str(getattr(error, "error_message", error)))
    value = getattr(result, "value", result)
    value = getattr(value, "value", value)  # a rating is an enumeration of words
    if value is None:
        return None
    if isinstance(value, str):
        if value.strip().lower() not in _WORDS:
            raise ScorerError(f"it answered {value[:50]!r}; expected a number, or yes or no")
        return _WORDS[value.strip().lower()]
    return float(value)
