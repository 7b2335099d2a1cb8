"""Checks of Python and of the packages that Timelapse needs, or can use."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from timelapse.diagnosis.finding import Finding

DISTRIBUTION = "mlflow-timelapse"

_FOR_DEVELOPERS = ("dev", "bench")
_SHOWN = ("mlflow", "pyarrow", "pandas", "duckdb")


def check_installation() -> list[Finding]:
    """Return findings on Python, the packages that must be there, and each extra for users."""
    extras = metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    return [
        _check_python(),
        _check_packages(),
        *(_check_extra(extra) for extra in extras if extra not in _FOR_DEVELOPERS),
    ]


def mlflow_range() -> SpecifierSet:
    """Return the versions of MLflow that this version of Timelapse is made for."""
    return next(need.specifier for need in _needs() if need.name == "mlflow")


def _check_python() -> Finding:
    wanted = metadata(DISTRIBUTION)["Requires-Python"]
    found = f"Python {platform.python_version()}, mlflow-timelapse {version(DISTRIBUTION)}"
    if SpecifierSet(wanted).contains(platform.python_version(), prereleases=True):
        return Finding("python", "ok", found)
    return Finding("python", "failed", found, f"Make an environment with Python {wanted}.")


def _check_packages() -> Finding:
    needs = _needs()
    wrong = [text for need in needs if (text := _trouble(need))]
    if wrong:
        command = f"pip install --upgrade {DISTRIBUTION}"
        return Finding("packages", "failed", "; ".join(wrong), f"Install what is missing with: {command}")
    shown = [f"{need.name} {version(need.name)}" for need in needs if need.name in _SHOWN]
    return Finding("packages", "ok", ", ".join(shown))


def _check_extra(extra: str) -> Finding:
    """Return what is there of an extra; to have nothing of it is no mistake, to have half of it is."""
    needs, check = _needs(extra), f"extra {extra}"
    absent = [need for need in needs if _installed(need) is None]
    wrong = [text for need in needs if (text := _trouble(need))]
    command = f"pip install '{DISTRIBUTION}[{extra}]'"
    if len(absent) == len(needs):
        return Finding(check, "ok", "not installed", f"If you want it: {command}")
    if wrong:
        return Finding(check, "warning", "; ".join(wrong), f"Install what is missing with: {command}")
    return Finding(check, "ok", ", ".join(f"{need.name} {_installed(need)}" for need in needs))


def _needs(extra: str | None = None) -> list[Requirement]:
    """Return what the distribution requires, or what an extra adds to that."""
    all_needs = [Requirement(text) for text in requires(DISTRIBUTION) or []]
    if extra is None:
        return [need for need in all_needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return [
        need
        for need in all_needs
        if need.marker and not need.marker.evaluate({"extra": ""}) and need.marker.evaluate({"extra": extra})
    ]


def _trouble(need: Requirement) -> str | None:
    found = _installed(need)
    if found is None:
        return f"{need.name} is not installed"
    if not need.specifier.contains(found, prereleases=True):
        return f"{need.name} {found} is installed, {need.name}{need.specifier} is needed"
    return None


def _installed(need: Requirement) -> str | None:
    try:
        return version(need.name)
    except PackageNotFoundError:
        return None
