"""Requests that go with the tables: MLflow's list of tables, data set inputs, finding a run of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from timelapse import names

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from timelapse.writing.spool import Header


def announce_table(client: MlflowClient, run_id: str) -> None:
    """Enter latest.json in the tag by which MLflow's artifact view and `mlflow.load_table` find tables."""
    from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS

    entry = {"path": f"{names.ARTIFACT_FOLDER}/{names.LATEST_FILE}", "type": "table"}
    listed = json.loads(client.get_run(run_id).data.tags.get(MLFLOW_LOGGED_ARTIFACTS, "[]"))
    if entry not in listed:
        client.set_tag(run_id, MLFLOW_LOGGED_ARTIFACTS, json.dumps([*listed, entry]))


def log_dataset(client: MlflowClient, run_id: str, about: Mapping[str, Any]) -> None:
    """Record a sample set (`set`, `fingerprint`, `count`, `source`) as a dataset input of the run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    dataset = Dataset(
        name=f"predictions-{about['set']}",
        digest=about["fingerprint"],
        source_type="local",
        source=json.dumps({"uri": about["source"]}),
        profile=json.dumps({"num_rows": about["count"]}),
    )
    context = InputTag(MLFLOW_DATASET_CONTEXT, names.DATASET_CONTEXT)
    client.log_inputs(run_id, [DatasetInput(dataset, [context])])


def experiment_named(client: MlflowClient, name: str) -> str:
    """Return the id of the experiment of a name, which is made if there is none."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name))
    except MlflowException:  # another process has just made it
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)


def find_created(client: MlflowClient, header: Header) -> str | None:
    """Return the run that was created for a spool whose process died before it could write down the id.

    First in the experiment that the header names, then in a thousand others: MLflow's own settings may have
    chosen one of those.
    """
    own = _experiment_of(client, header)
    others = [experiment.experiment_id for experiment in client.search_experiments(max_results=1000)]
    for experiments in ([own] if own else [], others):
        if experiments:
            mark = f"tags.`{names.TAG_TOKEN}` = '{header.token}'"
            found = client.search_runs(experiments, mark, max_results=1)
            if found:
                return str(found[0].info.run_id)
    return None


def _experiment_of(client: MlflowClient, header: Header) -> str | None:
    """Return the id of the experiment that a spool's header names, if there is one."""
    if header.experiment is None:
        return header.experiment_id
    found = client.get_experiment_by_name(header.experiment)
    return str(found.experiment_id) if found is not None else None
