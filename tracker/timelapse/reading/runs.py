"""Finding runs: by id, prefix, name, or `last`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from timelapse import names
from timelapse.config.redact import without_credentials
from timelapse.errors import RunError
from timelapse.fence import attempt, describe
from timelapse.polite import is_refusal, polite_requests, silence_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run
    from mlflow.store.entities import PagedList

T = TypeVar("T")

LAST = "last"
"""The selector of the newest run with predictions."""
MIN_PREFIX = 4
"""Fewest characters of an id that select a run."""

_PAGE = 1000
_IDS = 200
_WHOLE_ID = re.compile(r"[0-9a-f]{32}")
_WITH_PREDICTIONS = f"tags.`{names.TAG_SCHEMA}` LIKE '%'"


def find_runs(
    selectors: str | Sequence[str] | None = None,
    *,
    experiment: str | None = None,
    tracking_uri: str | None = None,
    filter: str | None = None,  # noqa: A002 - MLflow's word
) -> list[Run]:
    """Return the runs that `selectors` name, in their order, each once; all runs with predictions for None.

    `filter` is a condition in MLflow's language (`params.lr = '0.1'`), for a search without selectors.

    Raises:
        RunError: A selector names no run or several, the filter is not MLflow's language, or MLflow does
            not answer.
    """
    if selectors is None:
        return list_runs(experiment, tracking_uri, filter=filter)
    if filter is not None:
        raise RunError("Name runs, or describe them by a filter, but not both: drop one of the two.")
    wanted = _checked(selectors)
    if experiment is None and len(wanted) == 1 and (run := _run_by_id(connect(tracking_uri), wanted[0])):
        return [run]
    scope = _scope(experiment, tracking_uri)
    by_id = _runs_by_id(scope, wanted)
    found = [by_id.get(selector) or _find(scope, selector) for selector in wanted]
    return list({run.info.run_id: run for run in found}.values())


def _checked(selectors: str | Sequence[str]) -> list[str]:
    wanted = [selectors] if isinstance(selectors, str) else attempt(lambda: list(selectors))[0]
    if wanted is None or not all(isinstance(each, str) for each in wanted):
        raise RunError(f"runs={selectors!r} names no runs: give an id, a name or 'last', or a list of these.")
    return wanted


def find_run(
    selector: str,
    *,
    experiment: str | None = None,
    tracking_uri: str | None = None,
    with_predictions: bool = True,
) -> Run:
    """Return the run that a selector names.

    Args:
        selector: `last` (the newest run with predictions), else a full id, a run name, or the first
            characters (at least four) of an id, tried in this order. Deleted runs are never found; by name
            or prefix only runs with predictions are.
        experiment: Name of the experiment to look in; all experiments by default.
        tracking_uri: MLflow's tracking URI; MLflow's own setting by default. The setting is not changed.
        with_predictions: False finds any run by its name or the beginning of its id.

    Raises:
        RunError: No run or several match, or MLflow does not answer.
    """
    return _find(replace(_scope(experiment, tracking_uri), every=not with_predictions), selector)


def list_runs(
    experiment: str | None = None,
    tracking_uri: str | None = None,
    limit: int | None = None,
    filter: str | None = None,  # noqa: A002 - MLflow's word
) -> list[Run]:
    """Return the runs with predictions, newest first, at most `limit` of them.

    Raises:
        RunError: The experiment does not exist, the filter is not MLflow's language, or MLflow does not
            answer.
    """
    scope = _scope(experiment, tracking_uri)
    if filter is None or not filter.strip():
        return scope.search(_WITH_PREDICTIONS, limit)
    found, error = attempt(lambda: scope.search(f"{filter} AND {_WITH_PREDICTIONS}", limit))
    if error is None:
        return found or []
    if isinstance(error, RunError) and error.__cause__ is not None and is_refusal(error.__cause__):
        raise RunError(
            f"MLflow refuses the filter {filter!r}: {describe(error.__cause__)}. Write it as for "
            "mlflow.search_runs, for example: params.model = 'small' AND metrics.loss < 0.5"
        ) from error.__cause__
    raise error


def connect(tracking_uri: str | None = None) -> MlflowClient:
    """Return a client for a tracking URI, by default that of MLflow's settings, which stay as they are.

    Raises:
        RunError: The URI is none that MLflow knows, or names an SQLite file that does not exist (MLflow
            would make an empty one).
    """
    import mlflow

    uri = str(tracking_uri or mlflow.get_tracking_uri())
    if re.fullmatch(r"[\w.-]+:\d+(/.*)?", uri):
        raise RunError(f"'{uri}' does not say how to get there: write http://{uri}, or https://.")
    file = unquote(uri.removeprefix("sqlite:///").partition("?")[0])
    if uri.startswith("sqlite:///") and file and not Path(file).exists():
        raise RunError(
            f"There is no MLflow database {file}. Name MLflow's place with --tracking-uri (in Python "
            "tracking_uri=…) or MLFLOW_TRACKING_URI, or start in the folder of your training."
        )
    return ask(uri, lambda: mlflow.MlflowClient(tracking_uri=uri))


def ask(tracking_uri: str, call: Callable[[], T]) -> T:
    """Make a request to MLflow in bounded time; a failure is a `RunError` that names the tracking URI."""
    with polite_requests():
        answer, error = attempt(call)
    if error is None:
        return answer  # type: ignore[return-value]  # no error: the answer is a T
    raise RunError(_failure(without_credentials(tracking_uri), error)) from error


def _failure(place: str, error: BaseException) -> str:
    """Return what is wrong with a tracking URI, or with what answers there."""
    from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException

    if isinstance(
        error, UnsupportedModelRegistryStoreURIException
    ):  # MLflow's word for whatever it does not know
        expected = "http://HOST:PORT, https://…, or a database such as sqlite:///mlflow.db"
        return f"MLflow knows no place such as '{place}'. Give {expected}."
    reason = without_credentials(describe(error))
    if is_refusal(error):
        return f"MLflow at {place} refuses: {reason}"
    if silence := silence_of(reason):
        reason = f"{silence}. Is it running, at that address? `timelapse doctor` looks closer."
    return f"MLflow at {place} does not answer: {reason}"


def experiment_names(client: MlflowClient) -> dict[str, str]:
    """Return the names of all experiments that are not deleted, by id.

    Raises:
        RunError: MLflow does not answer.
    """

    def page(token: str | None) -> PagedList[Experiment]:
        return client.search_experiments(max_results=_PAGE, page_token=token)

    found = ask(client.tracking_uri, lambda: _all_pages(page))
    return {experiment.experiment_id: experiment.name for experiment in found}


def started(run: Run) -> datetime | None:
    """Return when a run began, in local time."""
    start = run.info.start_time
    return datetime.fromtimestamp(start / 1000).astimezone() if start is not None else None


@dataclass(frozen=True, slots=True)
class _Scope:
    """Where to look: a client and the experiments, by id, whose runs count."""

    client: MlflowClient
    experiments: dict[str, str]
    named: str | None
    every: bool = False

    def search(self, condition: str, limit: int | None = None) -> list[Run]:
        """Return the runs that meet a condition, newest first; deleted ones never."""
        if not self.experiments:
            return []

        def page(token: str | None) -> PagedList[Run]:
            return self.client.search_runs(
                list(self.experiments),
                condition,
                max_results=min(limit or _PAGE, _PAGE),
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )

        return ask(self.client.tracking_uri, lambda: _all_pages(page, limit))

    def __str__(self) -> str:
        where = f"experiment '{self.named}'" if self.named else f"{len(self.experiments)} experiments"
        return f"{where} at {without_credentials(self.client.tracking_uri)}"


def _scope(experiment: str | None, tracking_uri: str | None) -> _Scope:
    client = connect(tracking_uri)
    if experiment is None:
        return _Scope(client, experiment_names(client), None)
    found = ask(client.tracking_uri, lambda: client.get_experiment_by_name(experiment))
    if found is None or found.lifecycle_stage != "active":
        raise RunError(
            f"There is no experiment '{experiment}' at {without_credentials(client.tracking_uri)}; "
            f"there {_listed(sorted(experiment_names(client).values()))}."
        )
    return _Scope(client, {found.experiment_id: experiment}, experiment)


def _run_by_id(client: MlflowClient, selector: str) -> Run | None:
    """Return the run of this whole id without a search, which takes MLflow several times as long."""
    if not _WHOLE_ID.fullmatch(selector):
        return None
    with polite_requests():
        run, _error = attempt(lambda: client.get_run(selector))  # what is wrong, the search will say
    return run if run is not None and run.info.lifecycle_stage == "active" else None


def _runs_by_id(scope: _Scope, selectors: Sequence[str]) -> dict[str, Run]:
    """Return the runs that are named by their whole id: many in one request."""
    ids = sorted(set(filter(_WHOLE_ID.fullmatch, selectors)))
    some = [ids[begin : begin + _IDS] for begin in range(0, len(ids), _IDS)]
    conditions = [f"attributes.run_id IN ({', '.join(map(repr, chunk))})" for chunk in some]
    return {run.info.run_id: run for condition in conditions for run in scope.search(condition)}


def _find(scope: _Scope, selector: str) -> Run:
    matches = _matches(scope, selector)
    if len(matches) == 1:
        return matches[0]
    if matches:
        rows = "\n".join(f"  {_candidate(run, scope)}" for run in matches[:10])
        more = f"\n  … and {len(matches) - 10} more" if len(matches) > 10 else ""
        raise RunError(f"'{selector}' could be {len(matches)} runs; name one by its id:\n{rows}{more}")
    if selector == LAST:
        raise RunError(f"There is no run with predictions in {scope}. Log some, then try again.")
    raise RunError(
        f"No run with predictions has the id or name '{selector}', or an id that begins with it (at least "
        f"{MIN_PREFIX} characters), in {scope}: run `timelapse runs` to see them."
    )


def _matches(scope: _Scope, selector: str) -> list[Run]:
    if selector == LAST:
        return scope.search(_WITH_PREDICTIONS, limit=1)
    exact = [run for run in scope.search(_like("run_id", selector)) if run.info.run_id == selector]
    if exact:
        return exact
    among = "" if scope.every else f" AND {_WITH_PREDICTIONS}"
    named = scope.search(f"{_like('run_name', selector)}{among}")
    named = [run for run in named if run.info.run_name == selector]
    if named or len(selector) < MIN_PREFIX:
        return named
    begun = scope.search(f"{_like('run_id', selector, '%')}{among}")
    return [run for run in begun if run.info.run_id.startswith(selector)]


def _like(attribute: str, text: str, end: str = "") -> str:
    """Return a search condition that the text, and perhaps a little more, meets: the caller looks again.

    MLflow's filters have no escape for quotes, and a backslash differs between databases: `_` matches them.
    """
    pattern = re.sub(r"['\"`\\]", "_", text) + end
    return f"attributes.{attribute} LIKE '{pattern}'"


def _all_pages(page: Callable[[str | None], PagedList[T]], limit: int | None = None) -> list[T]:
    found: list[T] = []
    token = None
    while True:
        answer = page(token)
        found += answer
        token = answer.token
        if not token or (limit is not None and len(found) >= limit):
            return found[:limit]


def _candidate(run: Run, scope: _Scope) -> str:
    start = started(run)
    when = f", started {start:%Y-%m-%d %H:%M:%S}" if start else ""
    experiment = scope.experiments.get(run.info.experiment_id, run.info.experiment_id)
    return f"{run.info.run_id[:8]}  {run.info.run_name}  (experiment '{experiment}'{when})"


def _listed(items: Sequence[str]) -> str:
    if not items:
        return "are none"
    more = f" and {len(items) - 10} more" if len(items) > 10 else ""
    return "are " + ", ".join(f"'{item}'" for item in items[:10]) + more
