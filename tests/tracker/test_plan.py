"""The plan: against a trainer that is played step by step, and its arithmetic by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from timelapse.config.model import Config
from timelapse.course import Course, course_of
from timelapse.errors import ConfigError, ScheduleError
from timelapse.plan import Counts, Plan, plan_set, plan_training, rounds_due
from timelapse.round_cost import SetCounts, Speed
from timelapse.schedule import Event, Schedule

MAIN = SetCounts((5, 7, 9), (3, 4, None))


@dataclass
class PlayedTrainer:
    """The loop of Transformers' `Trainer`, batch by batch, with what the callback makes of its hooks."""

    config: Config
    batches: list[int]
    """Rows of each batch of an epoch."""
    step: int = 0
    epoch: float = 0.0
    epoch_over_at: int | None = None

    def run(self) -> Iterator[tuple[Event, int, float]]:
        training = self.config.training
        each = training.gradient_accumulation_steps
        updates = max(len(self.batches) // each + int(len(self.batches) % each > 0), 1)
        self.max_steps = training.max_steps
        epochs = self.max_steps // updates + int(self.max_steps % updates > 0)
        if self.max_steps < 0:
            self.max_steps = math.ceil(training.num_train_epochs * updates)
            epochs = math.ceil(training.num_train_epochs)
        every = training.eval_steps or training.logging_steps
        self.eval_every = math.ceil(self.max_steps * every) if every < 1 else every
        yield from self.at("begin")
        if training.arguments.get("eval_on_start"):
            yield from self.on_evaluate()
        for epoch in range(epochs):
            yield from self.one_epoch(epoch)
            if self.stops:
                break
        yield from self.at("end")

    def one_epoch(self, epoch: int) -> Iterator[tuple[Event, int, float]]:
        training = self.config.training
        for batch in range(len(self.batches)):
            whole = (batch + 1) % training.gradient_accumulation_steps == 0
            if not whole and batch + 1 != len(self.batches):
                continue
            self.step += 1
            self.epoch = epoch + (batch + 1) / len(self.batches)
            yield from self.at("step")
            due = self.step % self.eval_every == 0 or self.stops
            if training.eval_strategy == "steps" and due and self.delay <= self.step:
                yield from self.on_evaluate()
            if self.stops:
                break
        yield from self.on_epoch_end()

    def on_epoch_end(self) -> Iterator[tuple[Event, int, float]]:
        evaluates = self.config.training.eval_strategy == "epoch" and self.delay <= self.epoch
        self.epoch_over_at = self.step
        if self.stops and not self.epoch.is_integer():
            yield from self.at("end")
        yield from self.at("epoch")
        if self.stops and not evaluates:
            yield from self.at("end")
        if evaluates:
            yield from self.on_evaluate()

    def on_evaluate(self) -> Iterator[tuple[Event, int, float]]:
        yield from self.at("eval")
        if self.epoch_over_at == self.step and self.stops:
            yield from self.at("end")

    def at(self, event: Event) -> Iterator[tuple[Event, int, float]]:
        yield event, self.step, self.epoch

    @property
    def delay(self) -> float:
        return float(self.config.training.arguments.get("eval_delay", 0))

    @property
    def stops(self) -> bool:
        return self.step >= self.max_steps


def dealt(rows: int, size: int, ranks: int, drop_last: bool) -> list[int]:
    """The batches that the first rank gets, dealt out as accelerate does."""
    batches = [min(size, rows - start) for start in range(0, rows, size)]
    if drop_last:
        batches = [batch for batch in batches if batch == size]
        return batches[: len(batches) // ranks * ranks : ranks]
    return batches[::ranks]


def rounds_of(
    schedule: Schedule, events: Iterator[tuple[Event, int, float]], *, scored: bool
) -> list[tuple[int, float, str]]:
    rounds: list[tuple[int, float, str]] = []
    for event, step, epoch in events:
        trigger = schedule.due(event, step, rounds[-1][0] if rounds else None)
        if event == "eval" and scored and (not rounds or rounds[-1][0] != step):
            trigger = "eval"  # by the callback's `_scored`
        if trigger is not None:
            rounds.append((step, epoch, trigger))
    return rounds


def make_config(**training: Any) -> Config:
    return Config.model_validate({"model": "m", "data": {"train": "t"}, "training": training})


@st.composite
def configs(draw: st.DrawFn) -> Config:
    training: dict[str, Any] = {
        "per_device_train_batch_size": draw(st.integers(1, 8)),
        "gradient_accumulation_steps": draw(st.integers(1, 5)),
        "num_train_epochs": draw(st.sampled_from([0.3, 1, 1.5, 2, 3, 2.7])),
        "max_steps": draw(st.one_of(st.just(-1), st.integers(1, 40))),
        "eval_strategy": draw(st.sampled_from(["no", "steps", "epoch"])),
        "eval_steps": draw(st.one_of(st.none(), st.integers(1, 12), st.sampled_from([0.1, 0.25, 0.5]))),
        "logging_steps": draw(st.sampled_from([0.3, 1, 7])),
        "arguments": draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "eval_delay": st.sampled_from([0, 1, 1.5, 2, 5, 9]),
                    "eval_on_start": st.booleans(),
                    "dataloader_drop_last": st.booleans(),
                },
            )
        ),
    }
    return make_config(**training)


schedules = st.builds(
    Schedule,
    frequency=st.sampled_from(["epoch", "eval", "steps"]),
    step_interval=st.integers(1, 15),
    baseline=st.booleans(),
    end=st.booleans(),
)


@settings(max_examples=500)
@given(configs(), schedules, st.integers(1, 40), st.integers(1, 3), st.booleans())
def test_the_plan_is_what_a_trainer_does(
    config: Config, schedule: Schedule, rows: int, ranks: int, scored: bool
) -> None:
    training = config.training
    drop_last = bool(training.arguments.get("dataloader_drop_last"))
    batches = dealt(rows, training.per_device_train_batch_size, ranks, drop_last)
    assume(batches)

    course = course_of(config, rows, ranks=ranks)
    due = rounds_due(schedule, course, scored=scored)
    planned = [(moment.step, moment.epoch, trigger) for moment, trigger in due]

    played = PlayedTrainer(config, batches)
    assert planned == rounds_of(schedule, played.run(), scored=scored)
    assert course.max_steps == played.step
    assert course.epochs == played.epoch


@given(configs(), schedules, st.integers(1, 40))
def test_a_schedule_that_fires_is_not_refused(config: Config, schedule: Schedule, rows: int) -> None:
    assume(not config.training.arguments.get("dataloader_drop_last"))
    course = course_of(config, rows)
    # An evaluation that comes only because the training ends is none to plan rounds by.
    fires = any(
        trigger == schedule.frequency and 0 < moment.step < course.max_steps
        for moment, trigger in rounds_due(schedule, course)
    )
    try:
        course.check(schedule)
    except ScheduleError:
        assert not fires


def plan(config: Config, *sets: SetCounts, rows: int = 16, speed: Speed | None = None) -> Plan:
    return plan_training(config, Counts(rows, 25 * rows, sets or (MAIN,)), speed)


def predicted(config: Config, **settings: Any) -> Config:
    return Config.model_validate({**config.model_dump(exclude_unset=True), "predictions": settings})


def test_every_round_says_why() -> None:
    config = make_config(per_device_train_batch_size=4, max_steps=6, eval_strategy="steps", eval_steps=4)
    assert [(r.step, r.epoch, r.trigger, r.why) for r in plan(config).rounds] == [
        (0, 0.0, "baseline", "the base model, before the first step"),
        (4, 1.0, "epoch", "epoch 1 is done"),
        (6, 1.5, "end", "the last step is done"),
    ]
    by_eval = plan(predicted(config, sample_frequency="eval", baseline=False)).rounds
    assert [(r.step, r.trigger, r.why) for r in by_eval] == [
        (4, "eval", "evaluation every 4 steps"),
        (6, "eval", "evaluation after the last step"),
    ]
    by_steps = plan(predicted(config, sample_frequency="steps", step_interval=3, end=False)).rounds
    assert [(r.step, r.trigger, r.why) for r in by_steps[1:]] == [
        (3, "steps", "every 3 steps"),
        (6, "steps", "every 3 steps"),
    ]
    at_epochs = make_config(eval_strategy="epoch", num_train_epochs=1, arguments={"eval_on_start": True})
    first = plan(predicted(at_epochs, sample_frequency="eval", baseline=False)).rounds
    assert [(r.step, r.why) for r in first] == [
        (0, "evaluation before the first step"),
        (2, "evaluation after epoch 1"),
    ]


def test_answers_are_as_long_as_their_references_once_the_model_has_learned_to_stop() -> None:
    config = predicted(make_config(num_train_epochs=1), max_new_tokens=10)
    base, last = plan(config).rounds
    assert (base.samples, base.prompt_tokens, base.new_tokens, base.most_new_tokens) == (3, 21, 30, 30)
    assert (last.new_tokens, last.most_new_tokens) == (3 + 4 + 10, 30)
    assert plan(config).train_tokens == 25 * 16
    assert plan(config).seconds is None
    assert plan(config).share is None
    assert plan(config).warnings == ()


def test_seconds_are_those_of_padded_prompts_and_of_the_longest_answer_of_each_batch() -> None:
    config = predicted(make_config(num_train_epochs=1), max_new_tokens=10, batch_size=2, reference_nll=False)
    speed = Speed(step=3.0, prompt_token=0.01, new_token=0.1)
    made = plan(config, speed=speed)
    base, last = made.rounds
    padded = 2 * 7 + 9  # batches (5, 7) and (9)
    assert base.seconds == pytest.approx(0.01 * padded + 0.1 * 20)
    assert last.seconds == pytest.approx(0.01 * padded + 0.1 * (4 + 10))
    assert last.most_seconds == base.most_seconds == base.seconds
    assert made.train_seconds == 2 * 3.0
    assert made.seconds == pytest.approx(base.seconds + last.seconds)
    assert made.share == pytest.approx(made.seconds / (made.seconds + 6))
    assert made.most_share == pytest.approx(2 * base.seconds / (2 * base.seconds + 6))
    [warning] = made.warnings
    assert warning.startswith("predictions take 39% of the training time, more than 20%. Choose fewer rounds")
    assert plan(config, speed=replace(speed, step=30.0)).warnings == ()


def test_ranks_share_samples_and_rows() -> None:
    config = make_config(num_train_epochs=1, per_device_train_batch_size=4)
    config = predicted(config, max_new_tokens=10, reference_nll=False)
    counts = Counts(16, 400, (MAIN,), ranks=2)
    made = plan_training(config, counts, Speed(step=1.0, prompt_token=0.01, new_token=0.1))
    assert made.course.max_steps == 2
    assert made.train_tokens == 400
    assert made.rounds[0].samples == 3
    assert made.rounds[0].seconds == pytest.approx(0.01 * 2 * 9 + 0.1 * 10)  # the rank with prompts 5 and 9


def test_sets_are_planned_one_by_one_and_put_in_order() -> None:
    config = predicted(make_config(per_device_train_batch_size=4, num_train_epochs=2), max_new_tokens=10)
    probe = SetCounts((4,), (2,), name="probe")
    told = {"sample_frequency": "steps", "step_interval": 3, "end": False, "samples_from": "train"}
    config = predicted(config, max_new_tokens=10, sets={"probe": told})
    assert [(each.set, each.step) for each in plan(config, MAIN, probe).rounds] == [
        ("main", 0), ("probe", 0), ("probe", 3), ("main", 4), ("probe", 6), ("main", 8),
    ]  # fmt: skip
    course = course_of(config, 16)
    assert [each.step for each in plan_set(probe, config.predictions, course)] == [0, 4, 8]


def test_the_score_of_evaluations_and_the_base_of_a_model_make_rounds_of_their_own() -> None:
    config = make_config(per_device_train_batch_size=4, max_steps=8, eval_strategy="steps", eval_steps=3)
    probe = SetCounts((4,), (2,), name="probe")
    settings = {"eval_score": "exact_match", "base_model": True, "baseline": False, "sets": {"probe": {}}}
    made = plan(predicted(config, **settings), MAIN, probe, speed=Speed(1.0, 0.01, 0.1))
    assert [(each.set, each.step, each.trigger, each.why) for each in made.rounds] == [
        ("main-base", 0, "baseline", "the base without its adapters, before the first step"),
        ("probe-base", 0, "baseline", "the base without its adapters, before the first step"),
        ("main", 3, "eval", "evaluation every 3 steps"),
        ("main", 4, "epoch", "epoch 1 is done"),
        ("probe", 4, "epoch", "epoch 1 is done"),
        ("main", 6, "eval", "evaluation every 3 steps"),
        ("main", 8, "eval", "evaluation after the last step"),
        ("probe", 8, "epoch", "epoch 2 is done"),
    ]
    base = made.rounds[0]
    assert (base.samples, base.prompt_tokens, base.new_tokens, base.most_new_tokens) == (3, 21, 384, 384)
    assert base.seconds == base.most_seconds is not None


def test_several_answers_to_a_prompt_and_losses_on_references_cost() -> None:
    plain = {"max_new_tokens": 10, "batch_size": 8, "reference_nll": False}
    speed = Speed(step=3.0, prompt_token=0.01, new_token=0.1)
    once, thrice = (
        plan(predicted(make_config(num_train_epochs=1), **plain, **more), speed=speed).rounds[0]
        for more in ({}, {"do_sample": True, "generations": 3})
    )
    assert (thrice.prompt_tokens, thrice.new_tokens) == (3 * once.prompt_tokens, 3 * once.new_tokens)
    config = predicted(make_config(num_train_epochs=1), **{**plain, "reference_nll": True})
    scored = plan(config, speed=speed).rounds[0]
    pairs = zip(MAIN.prompt_tokens, MAIN.reference_tokens, strict=True)
    tokens = sum(prompt + reference for prompt, reference in pairs if reference is not None)
    assert scored.seconds == pytest.approx((once.seconds or 0) + 0.01 * tokens)


def test_predictions_that_are_off_make_no_rounds() -> None:
    made = plan(predicted(make_config(), enabled=False), speed=Speed(1.0, 0.01, 0.1))
    assert made.rounds == ()
    assert (made.seconds, made.share, made.warnings) == (0, 0.0, ())


def test_a_plan_that_cannot_be_carried_out_is_an_error_at_its_field() -> None:
    with pytest.raises(ScheduleError, match=r"predictions\.step_interval: a round every 50 steps never"):
        plan(predicted(make_config(), sample_frequency="steps", step_interval=50))
    with pytest.raises(ScheduleError, match=r"predictions\.sample_frequency: 'eval' never fires"):
        plan(predicted(make_config(), sample_frequency="eval"))
    drops = make_config(arguments={"dataloader_drop_last": True})
    with pytest.raises(ConfigError, match=r"training\.per_device_train_batch_size: 7 rows make no whole"):
        plan(drops, rows=7)
    with pytest.raises(ConfigError, match=r"training\.arguments\.eval_delay: expected a number, got 'soon'"):
        plan(make_config(arguments={"eval_delay": "soon"}))
    with pytest.raises(ConfigError, match=r"training\.arguments\.eval_on_start: expected true or false"):
        plan(make_config(arguments={"eval_on_start": 1}))


def test_a_plan_without_end_is_refused_and_a_long_training_is_not() -> None:
    endless = predicted(make_config(max_steps=10**12), sample_frequency="steps", step_interval=10)
    with pytest.raises(ScheduleError, match="more than 100,000 rounds would happen in a training of"):
        plan(endless)
    rare = predicted(make_config(max_steps=10**12), sample_frequency="steps", step_interval=10**11)
    assert len(plan(rare).rounds) == 11


def test_a_course_counts_as_the_trainer_does() -> None:
    course = Course(batches_per_epoch=7, accumulation=3, max_steps=7)
    assert course.steps_per_epoch == 3
    assert [course.epoch_at(step) for step in range(5)] == [0, 3 / 7, 6 / 7, 1, 1 + 3 / 7]


def test_the_base_model_has_a_round_of_its_own_before_all_others() -> None:
    probe = SetCounts((4,), (2,), name="probe")
    told = {"samples_from": "train"}
    made = plan(
        predicted(make_config(num_train_epochs=1), base_model=True, sets={"probe": told}), MAIN, probe
    )
    assert [(each.set, each.step) for each in made.rounds[:4]] == [
        ("main-base", 0), ("probe-base", 0), ("main", 0), ("probe", 0),
    ]  # fmt: skip
    assert made.rounds[0].new_tokens == made.rounds[2].new_tokens
    assert "without its adapters" in made.rounds[0].why


def test_each_evaluation_has_a_round_where_a_score_is_asked_of_it() -> None:
    config = make_config(
        per_device_train_batch_size=4, num_train_epochs=2, eval_strategy="steps", eval_steps=3
    )
    probe = SetCounts((4,), (2,), name="probe")
    sets = {"probe": {"samples_from": "train"}}
    made = plan(predicted(config, eval_score="exact_match", sets=sets), MAIN, probe)
    assert [(each.step, each.trigger) for each in made.rounds if each.set == "main"] == [
        (0, "baseline"), (3, "eval"), (4, "epoch"), (6, "eval"), (8, "eval"),
    ]  # fmt: skip
    assert [each.step for each in made.rounds if each.set == "probe"] == [0, 4, 8]


def test_budgets_that_will_be_met_are_said() -> None:
    speed = Speed(step=1000.0, prompt_token=0.01, new_token=0.1)
    limits = {"max_seconds_per_round": 0.5, "max_share_of_training_time": 0.00001, "max_new_tokens": 10}
    made = plan(predicted(make_config(num_train_epochs=1), **limits), speed=speed)
    assert [text.partition(",")[0] for text in made.warnings] == [
        "predictions take 0% of the training time",
        "a round of set main takes 1.46 s",
    ]
    scored = make_config(num_train_epochs=1, eval_strategy="epoch")
    scored = predicted(scored, eval_score="exact_match", max_seconds_per_round=0.5, max_new_tokens=10)
    assert plan(scored, speed=speed).warnings == ()
    enough = {"max_seconds_per_round": 60.0, "max_share_of_training_time": 0.5, "max_new_tokens": 10}
    assert plan(predicted(make_config(num_train_epochs=1), **enough), speed=speed).warnings == ()
