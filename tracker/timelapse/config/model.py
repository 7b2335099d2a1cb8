"""The one model of a configuration; its JSON schema feeds the command line, the trainer and the pages.

Unknown keys are kept on the models. `timelapse.config.file` reads files, and reports what is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from timelapse.config.lora import lift_lora
from timelapse.config.types import (
    BoolOrAuto,
    Count,
    Fields,
    FormatName,
    Interval,
    Label,
    NoSwitch,
    NotNegative,
    Positive,
    SaveStrategy,
    Scale,
    Scorers,
    Seed,
    SetBlocks,
    Share,
    Strategy,
    TargetModules,
    Template,
    Text,
    Validators,
    Warmup,
    Whole,
    name_block,
    switch_block,
)
from timelapse.names import DEFAULT_SET, is_set_name

_NO_SET_NAME = (
    "is no name for a sample set: use up to 64 letters, digits, '_', '-' and '.', beginning with a letter "
    "and not ending like an attempt ('a1')"
)


class Section(BaseModel):
    """A block of a configuration: immutable, with the keys kept that it does not know."""

    model_config = ConfigDict(
        extra="allow",
        frozen=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        use_attribute_docstrings=True,
        ser_json_inf_nan="constants",
        # A default is checked too where it depends on another field.
        validate_default=True,
    )


class ModelConfig(Section):
    """The base model."""

    name: Text
    """Hub id, folder, or `package:some_module` for the folder of an installed Python package."""
    gguf_file: Text | None = None
    """Name of the GGUF file to load from that place."""
    revision: Text | None = None
    """Branch, tag or commit of a hub model."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the weights; `auto` keeps what the model was saved in."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model."""


class TokenizerConfig(Section):
    """The tokenizer, and how chats become text."""

    name: Text | None = None
    """Hub id or folder; the model's own if not given."""
    chat_template: Text | None = None
    """Jinja text, or a path that ends in `.jinja`; the tokenizer's own if not given."""


class DataConfig(Section):
    """What the model learns from, and what it is evaluated on."""

    train: Text
    """Path of the training data."""
    eval: Text | None = None
    """Path of the evaluation data."""
    eval_fraction: Annotated[float, Field(gt=0, lt=1), NoSwitch] | None = None
    """Share of the training data that is split off for evaluation, where there is no `eval` file."""
    format: FormatName | None = None
    """Name of the format of the rows; detected if not given."""
    fields: Fields | None = None
    """Which column holds what, for rows of no known format."""
    template: Template = "auto"
    """`chat`: with the chat template; `plain`: as bare text; `auto`: as the rows are."""

    @field_validator("eval_fraction")
    @classmethod
    def _one_source(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("eval") is not None:
            raise ValueError("cannot stand beside data.eval. Remove one of them")
        return value


class TrainingConfig(Section):
    """The training arguments, under the names that Transformers and TRL give them."""

    output_dir: Text = "outputs"
    """Folder for checkpoints and the final model, relative to the working directory."""
    num_train_epochs: Positive = 3.0
    """Passes over the training data."""
    max_steps: Whole = -1
    """Optimizer steps; -1 lets `num_train_epochs` decide."""
    per_device_train_batch_size: Count = 8
    """Rows in a training batch on each device."""
    per_device_eval_batch_size: Count = 8
    """Rows in an evaluation batch on each device."""
    gradient_accumulation_steps: Count = 1
    """Batches that make one optimizer step."""
    learning_rate: Positive = 2e-4
    """Highest learning rate."""
    lr_scheduler_type: Text = "linear"
    """How the learning rate changes: `linear`, `cosine`, `constant`, …"""
    warmup_steps: Warmup = 0.0
    """Steps of warm-up; below 1, a share of all steps."""
    weight_decay: NotNegative = 0.0
    """Weight decay of the optimizer."""
    max_grad_norm: NotNegative = 1.0
    """Gradients are clipped to this norm; 0 switches that off."""
    max_length: Count | None = 1024
    """Longest row in tokens; longer ones are cut. Null cuts none."""
    bf16: BoolOrAuto = False
    """Mixed precision in bfloat16; `auto`: where the hardware computes in it natively."""
    fp16: bool = False
    """Mixed precision in float16."""
    gradient_checkpointing: bool = False
    """Save memory by computing activations twice."""
    logging_steps: Interval = 10
    """Steps between logged losses; below 1, a share of all steps."""
    eval_strategy: Strategy = "no"
    """When the loss on the evaluation data is computed."""
    eval_steps: Interval | None = None
    """Steps between evaluations where `eval_strategy` is `steps`; `logging_steps` if not given."""
    save_strategy: SaveStrategy = "epoch"
    """When a checkpoint is saved."""
    save_steps: Interval = 500
    """Steps between checkpoints where `save_strategy` is `steps`."""
    save_total_limit: Count | None = None
    """Checkpoints to keep; all of them if not given."""
    arguments: dict[str, Any] = {}
    """Any other argument of Transformers' `TrainingArguments` or TRL's `SFTConfig`, by its name."""

    @field_validator("max_steps")
    @classmethod
    def _steps_or_all(cls, value: int) -> int:
        if value < 1 and value != -1:
            raise ValueError(f"expected at least 1, or -1 to let num_train_epochs decide, got {value}")
        return value

    @field_validator("fp16")
    @classmethod
    def _one_precision(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("bf16") is True:
            raise ValueError("cannot be on together with training.bf16. Switch one of them off")
        return value

    @field_validator("arguments")
    @classmethod
    def _not_twice(cls, value: dict[str, Any]) -> dict[str, Any]:
        own = {name: f"training.{name}" for name in cls.model_fields}
        own |= {"seed": "seed", "activation_checkpointing": "training.gradient_checkpointing"}
        places = [f"{name} belongs under {own[name]}" for name in value if name in own]
        if places:
            raise ValueError(f"{'; '.join(places)}, so that it is said once")
        return value


class LoraConfig(Section):
    """Train small low-rank matrices beside frozen weights, instead of all weights."""

    enabled: bool = True
    """False trains all weights; the block is then left out."""
    r: Count
    """Rank of the matrices."""
    alpha: Scale
    """Scale of their effect, which is alpha / r."""
    dropout: Annotated[float, Field(ge=0, lt=1), NoSwitch] = 0.0
    """Dropout before them."""
    target_modules: TargetModules = "all-linear"
    """Which layers get them: `all-linear`, a pattern, or a list of module names."""


class SetConfig(Section):
    """A further sample set with rounds of its own. What it does not say is taken from `predictions`."""

    samples_path: Text | None = None
    """File of its samples, used whole; without it, they are drawn from a split of the data."""
    samples_from: Literal["eval", "train"] | None = None
    """The split that its samples are drawn from."""
    sample_count: Count | None = None
    """How many samples are drawn."""
    sample_frequency: Literal["epoch", "eval", "steps"] | None = None
    """When its rounds are due."""
    step_interval: Count | None = None
    """Steps between its rounds if they follow the steps."""
    baseline: bool | None = None
    """A round with the base model, before training."""
    end: bool | None = None
    """A round after the last step."""
    max_new_tokens: Count | None = None
    """Longest answer in tokens."""
    format: FormatName | None = None
    """Name of the format of its samples file; detected if not given."""
    fields: Fields | None = None
    """Which column of its samples file holds what."""


class PredictionsConfig(Section):
    """The rounds: which samples the model answers, when, and how."""

    enabled: bool = True
    """False makes no rounds."""
    samples_path: Text | None = None
    """File of chosen samples, used whole; without it, samples are drawn from a split of the data."""
    sample_set: str | None = None
    """Name of the sample set, by default `main`; a run resumed with other samples needs a new one."""
    sample_count: Count = 5
    """How many samples are drawn; the most is set by PREDICTIONS_MAX_SAMPLE_COUNT."""
    samples_from: Literal["eval", "train"] = "eval"
    """The split that samples are drawn from; the training split only if it is named here."""
    sample_frequency: Literal["epoch", "eval", "steps"] = "epoch"
    """When a round is due: after each epoch, each evaluation, or every `step_interval` steps."""
    step_interval: Count | None = None
    """Steps between rounds if `sample_frequency` is `steps`; PREDICTIONS_MIN_STEP_INTERVAL is the least."""
    baseline: bool = True
    """A round with the base model, before training."""
    end: bool = True
    """A round after the last step."""
    max_new_tokens: Count = 128
    """Longest answer in tokens."""
    batch_size: Count = 16
    """Samples answered at a time."""
    do_sample: bool = False
    """Draw the answers at random instead of taking the likeliest token each time."""
    temperature: Positive = 1.0
    """How random drawn answers are; needs `do_sample`."""
    top_p: Annotated[float, Field(gt=0, le=1), NoSwitch] = 1.0
    """Draw only from the likeliest tokens that together reach this probability; needs `do_sample`."""
    seed: Seed | None = None
    """Seed of drawing samples and answers; the run's seed if not given."""
    generations: Count = 1
    """Answers drawn for each sample; more than one needs `do_sample`."""
    reference_nll: bool = True
    """Compute the loss on each sample's reference, too: one more forward pass."""
    keep_tokens: bool = False
    """Store the token ids of prompts and answers."""
    base_model: bool = False
    """One more round before training, answered by the base of a PEFT model, as the set `<set>-base`."""
    scorers: Scorers = ["exact_match", "edit_similarity"]
    """The scores of each answer: built-in ones by name, your own by import path, perhaps with options."""
    validators: Validators = []
    """The checks of each answer: `json`, `json_schema`, `regex`, or the import path of a function."""
    format: FormatName | None = None
    """Name of the format of the samples file; detected if not given."""
    fields: Fields | None = None
    """Which column of the samples file holds what."""
    template: Template = "auto"
    """`chat`: with the chat template; `plain`: as bare text; `auto`: as the samples are."""
    max_seconds_per_round: Positive | None = None
    """Budget: a round that would take longer, by the rounds before it, asks fewer samples."""
    max_share_of_training_time: Share | None = None
    """Budget: rounds between start and end that would take more than this share of the time are left out."""
    eval_score: Text | None = None
    """Name of a score that each evaluation computes: `metric_for_best_model` `eval_predictions_<score>`."""
    link_checkpoints: bool = True
    """Link a checkpoint that is saved at a round's step to the MLflow run, as a model with that step."""
    sets: SetBlocks[SetConfig] = {}
    """Further sample sets by name, such as training samples or canaries, each with rounds of its own."""

    @field_validator("sample_set")
    @classmethod
    def _set_name(cls, value: str | None) -> str | None:
        if value is not None and not is_set_name(value):
            raise ValueError(f"'{value}' {_NO_SET_NAME}")
        return value

    @field_validator("sets")
    @classmethod
    def _complete_sets(cls, value: dict[str, SetConfig], info: ValidationInfo) -> dict[str, SetConfig]:
        for name, block in value.items():
            if name == (info.data.get("sample_set") or DEFAULT_SET):
                raise _wrong((name,), "is described by the fields of predictions themselves")
            if not is_set_name(name):
                raise _wrong((name,), _NO_SET_NAME)
            frequency = block.sample_frequency or info.data.get("sample_frequency")
            if frequency == "steps" and not (block.step_interval or info.data.get("step_interval")):
                text = "is required when sample_frequency is steps. Set the steps between rounds"
                raise _wrong((name, "step_interval"), text)
        return value

    @field_validator("step_interval")
    @classmethod
    def _has_interval(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is None and info.data.get("sample_frequency") == "steps":
            raise ValueError("is required when sample_frequency is steps. Set the steps between rounds")
        return value

    @field_validator("temperature", "top_p")
    @classmethod
    def _only_when_drawn(cls, value: float, info: ValidationInfo) -> float:
        # 1.0 changes nothing, and stands in every stored configuration, which must be readable again.
        if value != 1.0 and info.data.get("do_sample") is False:
            raise ValueError(
                f"{value} has no effect while do_sample is false. Set do_sample: true, or remove it"
            )
        return value

    @field_validator("generations")
    @classmethod
    def _differ_only_when_drawn(cls, value: int, info: ValidationInfo) -> int:
        if value > 1 and info.data.get("do_sample") is False:
            raise ValueError(
                f"{value} answers to a sample would all be the same while do_sample is false. Set "
                "do_sample: true, or remove it"
            )
        return value


class TrackingConfig(Section):
    """The MLflow run that everything is stored in."""

    uri: Text | None = None
    """MLflow tracking URI; MLflow's own default if not given."""
    experiment: Label | None = None
    """Name of the experiment."""
    run_name: Label | None = None
    """Name of the run; MLflow makes one up if not given."""
    run_id: Text | None = None
    """Id of an existing run to go on with."""
    tags: dict[str, Label] = {}
    """Tags of the run."""


class TensorboardConfig(Section):
    """TensorBoard as a further target of losses and metrics."""

    enabled: bool = True
    """Whether it is written."""
    log_dir: Text | None = None
    """Folder of its files; chosen by Transformers if not given."""


class Config(Section):
    """Everything a fine-tuning is told: `timelapse train config.yaml`."""

    model: Annotated[ModelConfig, BeforeValidator(name_block, json_schema_input_type=str | ModelConfig)]
    """The base model; a bare text is its name."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """The tokenizer and the chat template; the model's own without this block."""
    data: DataConfig
    """The training data, and the evaluation data if there is any."""
    training: TrainingConfig = TrainingConfig()
    """The training arguments."""
    lora: LoraConfig | None = None
    """LoRA; without this block all weights are trained."""
    predictions: PredictionsConfig = PredictionsConfig()
    """Which samples the model answers, when, and how."""
    tracking: TrackingConfig = TrackingConfig()
    """The MLflow run."""
    seed: Seed = 42
    """Seed of the training."""
    tools: list[dict[str, Any]] = []
    """JSON-schema descriptions of functions that the model may call; given to the chat template."""
    tensorboard: Annotated[
        TensorboardConfig, BeforeValidator(switch_block, json_schema_input_type=bool | TensorboardConfig)
    ] = TensorboardConfig(enabled=False)
    """Whether TensorBoard is written too: true, false, or a block."""
    provider: Any = None
    """Stored with the run, secrets masked, and not used."""
    evaluation: Any = None
    """Stored with the run, secrets masked, and not used."""

    @model_validator(mode="before")
    @classmethod
    def _normalise(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        lifted = lift_lora(data)
        if lifted.problems:
            raise ValueError("\n".join(str(problem) for problem in lifted.problems))
        # A block whose lines are all commented out is null in YAML, and means the defaults.
        blocks = cls.model_fields.keys() - {"provider", "evaluation", "seed"}
        return {key: value for key, value in lifted.data.items() if value is not None or key not in blocks}


def _wrong(path: tuple[str, ...], text: str) -> PydanticCustomError:
    """Return an error at a place inside the field that is being checked."""
    return PydanticCustomError("inside", "{text}", {"path": path, "text": text})


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a configuration, with a description of every field."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}
