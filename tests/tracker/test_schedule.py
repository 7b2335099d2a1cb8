"""The schedule: a pure question, so its properties hold for every sequence of events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timelapse.errors import ScheduleError
from timelapse.schedule import Event, Frequency, Schedule

FREQUENCIES: tuple[Frequency, ...] = ("epoch", "eval", "steps")


@st.composite
def trainings(draw: st.DrawFn) -> list[tuple[Event, int]]:
    """The events of a training: steps, with evaluations and epochs at some of them."""
    last = draw(st.integers(1, 60))
    epoch_every, eval_every = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    events: list[tuple[Event, int]] = [("begin", 0)]
    for step in range(1, last + 1):
        events.append(("step", step))
        if step % eval_every == 0:
            events.append(("eval", step))
        if step % epoch_every == 0 or step == last:
            events.append(("epoch", step))
    return [*events, ("end", last)]


def rounds_of(schedule: Schedule, events: list[tuple[Event, int]]) -> list[tuple[int, str]]:
    rounds: list[tuple[int, str]] = []
    for event, step in events:
        trigger = schedule.due(event, step, rounds[-1][0] if rounds else None)
        if trigger is not None:
            rounds.append((step, trigger))
    return rounds


schedules = st.builds(
    Schedule,
    frequency=st.sampled_from(FREQUENCIES),
    step_interval=st.integers(1, 25),
    baseline=st.booleans(),
    end=st.booleans(),
)


@given(schedules, trainings())
def test_there_is_at_most_one_round_a_step_in_order(
    schedule: Schedule, events: list[tuple[Event, int]]
) -> None:
    steps = [step for step, _trigger in rounds_of(schedule, events)]
    assert steps == sorted(set(steps))


@given(schedules, trainings())
def test_baseline_and_end_happen_exactly_when_asked(
    schedule: Schedule, events: list[tuple[Event, int]]
) -> None:
    rounds, last = dict(rounds_of(schedule, events)), events[-1][1]
    assert (rounds.get(0) == "baseline") == schedule.baseline
    if schedule.end:
        assert last in rounds
    assert ("end" in rounds.values()) == (schedule.end and rounds.get(last) == "end")


@given(schedules, trainings())
def test_every_event_of_the_frequency_has_its_round(
    schedule: Schedule, events: list[tuple[Event, int]]
) -> None:
    rounds = rounds_of(schedule, events)
    wanted = {
        step
        for event, step in events
        if (schedule.frequency == "steps" and event == "step" and step % (schedule.step_interval or 1) == 0)
        or event == schedule.frequency
    }
    assert {step for step, trigger in rounds if trigger not in ("baseline", "end")} <= wanted
    assert wanted <= {step for step, _trigger in rounds}


def test_a_resumed_training_has_no_baseline() -> None:
    assert Schedule().due("begin", 40, None) is None
    assert Schedule().due("begin", 0, None) == "baseline"


@pytest.mark.parametrize(
    ("schedule", "training", "message"),
    [
        (
            Schedule("steps", 50),
            {"max_steps": 20, "eval_every": None, "evaluates": False},
            "a round every 50 steps never happens in a training of 20 steps. Choose at most 20",
        ),
        (
            Schedule("eval"),
            {"max_steps": 20, "eval_every": None, "evaluates": False},
            "'eval' never fires, because the trainer does not evaluate. Set eval_strategy",
        ),
        (
            Schedule("eval"),
            {"max_steps": 20, "eval_every": 30, "evaluates": True},
            "an evaluation every 30 steps never happens in a training of 20 steps. Lower eval_steps",
        ),
    ],
)
def test_a_schedule_that_never_fires_is_an_error(
    schedule: Schedule, training: dict[str, int], message: str
) -> None:
    with pytest.raises(ScheduleError, match=message):
        schedule.check(**training)  # type: ignore[arg-type]


@pytest.mark.parametrize("interval", [None, 0, -1])
def test_steps_need_an_interval(interval: int | None) -> None:
    with pytest.raises(ScheduleError, match=r"step_interval.*at least 1"):
        Schedule("steps", interval)


def test_schedules_that_can_fire_are_accepted() -> None:
    Schedule("steps", 20).check(max_steps=20, eval_every=None, evaluates=False)
    Schedule("eval").check(max_steps=20, eval_every=20, evaluates=True)
    Schedule("eval").check(max_steps=20, eval_every=None, evaluates=True)
    Schedule("epoch").check(max_steps=1, eval_every=None, evaluates=False)


def test_a_schedule_describes_itself() -> None:
    assert Schedule("steps", 10).describe() == "rounds at the start, every 10 steps, at the end"
    assert Schedule(baseline=False, end=False).describe() == "rounds after each epoch"
