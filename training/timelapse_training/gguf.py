"""GGUF files as trainable models: converted once, by a child process that gives its memory back.

Run as `python -m timelapse_training.gguf FOLDER FILE TARGET`.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from platformdirs import user_cache_path

from timelapse.errors import ConfigError


class Conversion:
    """A conversion under way; the caller may do something else until it asks for the result."""

    def __init__(self, folder: Path, file: str) -> None:
        source = folder / file
        if not source.is_file():
            found = ", ".join(sorted(path.name for path in folder.glob("*.gguf"))) or "none"
            raise ConfigError(
                f"model.gguf_file: {source} does not exist. GGUF files in that folder: {found}."
            )
        self.source = source
        self.target = user_cache_path("timelapse") / "gguf" / _key(source)
        self._child: subprocess.Popen[bytes] | None = None
        if not self.target.is_dir():
            command = [sys.executable, "-m", __spec__.name, str(folder), file, str(self.target)]
            self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
            self._child = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT)  # noqa: S603

    def result(self) -> Path:
        """Wait, and return the folder with safetensors weights and tokenizer."""
        if self._child is not None:
            code, self._child = self._child.wait(), None
            self._log.seek(0)
            last = "\n".join(self._log.read().strip().splitlines()[-5:])
            self._log.close()
            if code:
                raise ConfigError(f"model.gguf_file: {self.source} cannot be converted:\n{last}")
        return self.target


def convert(folder: Path, file: str, target: Path) -> None:
    """Write a GGUF file as float32 safetensors with its tokenizer; `target` appears whole or not at all."""
    _parse_once()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # Without dequantize the model refuses to be trained and saved.
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
        aside = Path(scratch) / target.name
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        try:
            aside.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was faster: each rank of a training converts
                raise


def _parse_once() -> None:
    """Remember what is read: transformers parses the file three times, and its names once a module.

    That is two thirds of the time of a conversion. Only ever done in the child process.
    """
    import gguf

    for name in ("GGUFReader", "get_tensor_name_map"):
        setattr(gguf, name, cache(getattr(gguf, name)))


def _key(source: Path) -> str:
    """Return a name for the converted model that changes with the file."""
    stat = source.stat()
    identity = f"{source.resolve()}:{stat.st_size}:{stat.st_mtime_ns}:v1"
    return f"{source.stem}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


if __name__ == "__main__":
    convert(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
