"""Where a run comes from: command line, git commit, package versions."""

from __future__ import annotations

import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from timelapse.config.known_secrets import hide_secrets
from timelapse.config.redact import REDACTED, is_secret_key, without_credentials

PACKAGES = (
    *("mlflow-timelapse", "mlflow", "pandas", "pyarrow"),
    *("torch", "transformers", "peft", "trl", "accelerate", "datasets", "vllm"),
)


def environment() -> dict[str, Any]:
    """Return the command line (secrets redacted), Python, platform, package versions and the git state."""
    return {
        "command": command_line(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": package_versions(),
        "git": git_state(),
    }


def command_line() -> str:
    """Return the command that started this process, as one would type it, secrets redacted."""
    arguments = list(sys.orig_argv)
    for place, flag in enumerate(arguments[:-1]):
        if flag.startswith("-") and "=" not in flag and is_secret_key(flag.lstrip("-")):
            arguments[place + 1] = REDACTED
    return hide_secrets(shlex.join(arguments)).replace("'" + REDACTED + "'", REDACTED)


def package_versions() -> dict[str, str]:
    """Return the versions of the installed packages that decide what a training does."""
    found = {name: _version(name) for name in PACKAGES}
    return {name: installed for name, installed in found.items() if installed is not None}


@cache  # what is imported stays, and reading the descriptions of all packages takes as long as a round
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def git_state() -> dict[str, Any] | None:
    """Return commit, branch, remote and whether files differ from the commit; None outside a repository."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    remote = _git("config", "--get", "remote.origin.url")
    return {
        "commit": commit,
        "branch": _git("rev-parse", "--abbrev-ref", "HEAD"),
        "remote": without_credentials(remote) if remote else None,
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


def _git(*arguments: str) -> str | None:
    program = shutil.which("git")
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            [program, *arguments], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def flat(block: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested blocks as one level: `{"lora.r": 8}`; what is not set is left out."""
    if not isinstance(block, Mapping):
        return {} if block is None else {prefix: block}
    pairs: dict[str, Any] = {}
    for key, value in block.items():
        pairs.update(flat(value, f"{prefix}.{key}" if prefix else str(key)))
    return pairs
