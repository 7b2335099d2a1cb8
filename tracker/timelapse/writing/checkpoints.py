"""Checkpoints in MLflow: a logged model without files, which says where the weights of a step lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from timelapse import names

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

MODEL_TYPE = "checkpoint"


def link_checkpoint(client: MlflowClient, run_id: str, about: Mapping[str, Any]) -> None:
    """Enter a checkpoint (`path`, `step`, `attempt`) as an output of a run; repeating it changes nothing.

    No file is sent. The model's tags say where the checkpoint was saved, at which step and in which attempt.
    """
    from mlflow.entities import LoggedModelOutput

    run = client.get_run(run_id)
    model = _entered(client, run.info.experiment_id, run_id, about)
    if model is None:
        model = client.create_logged_model(
            run.info.experiment_id,
            name=f"checkpoint-{about['step']}",  # without a name MLflow draws one at random
            source_run_id=run_id,
            tags=_tags(about),
            model_type=MODEL_TYPE,
        )
    if str(model.status) != "READY":
        client.finalize_logged_model(model.model_id, "READY")
    outputs = run.outputs.model_outputs if run.outputs else []
    if model.model_id not in {output.model_id for output in outputs}:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, about["step"])])


def _entered(
    client: MlflowClient, experiment_id: str, run_id: str, about: Mapping[str, Any]
) -> LoggedModel | None:
    """Return the model of a checkpoint that was entered before, if an answer of MLflow's was lost."""
    found = client.search_logged_models(
        [experiment_id], f"source_run_id = '{run_id}' AND name = 'checkpoint-{about['step']}'"
    )
    return next((model for model in found if _tags(about).items() <= model.tags.items()), None)


def _tags(about: Mapping[str, Any]) -> dict[str, str]:
    return {
        names.TAG_CHECKPOINT: about["path"],
        names.TAG_CHECKPOINT_STEP: str(about["step"]),
        names.TAG_CHECKPOINT_ATTEMPT: str(about["attempt"]),
    }
