"""The training's own curves, logged so that a failing server cannot stop the training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from timelapse.run import TrainingRun


class CurvesCallback(TrainerCallback):
    """Logs what the trainer reports (loss, learning rate, evaluation) under the names that it uses.

    Transformers' own MLflow callback raises into the training when the server fails; this one does not.
    """

    def __init__(self, run: TrainingRun) -> None:
        self._run = run

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Send the numbers of one report."""
        numbers = {name: value for name, value in (logs or {}).items() if isinstance(value, int | float)}
        if state.is_world_process_zero and numbers:
            self._run.log_metrics(numbers, state.global_step)
