"""The `timelapse` program with the commands that pyproject.toml declares, installed or not."""

from __future__ import annotations

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

from timelapse.cli.main import GROUP, Program

ROOT = Path(__file__).resolve().parents[2]


def declared_program() -> Program:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = project["entry-points"][GROUP]
    entries = {name: EntryPoint(name, value, GROUP) for name, value in declared.items()}
    return Program("timelapse", find=lambda: entries)
