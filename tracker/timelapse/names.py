"""Every tag, metric, parameter and artifact name that Timelapse writes to MLflow, once."""

import re
from collections.abc import Iterable
from pathlib import PurePath

SCHEMA_VERSION = 1

# Artifacts: one flat folder, because MLflow lists a folder per request.
ARTIFACT_FOLDER = "timelapse"
MANIFEST_FILE = "manifest.json"
SAMPLES_FILE = "samples.parquet"
ROUNDS_FILE = "rounds.parquet"
LATEST_FILE = "latest.json"
REPORT_FILE = "report.html"
CONFIG_FILE = "config.yaml"
ENVIRONMENT_FILE = "environment.json"
LAUNCH_LOG_FILE = "launch.log"

# Tags of a run.
TAG_SCHEMA = "timelapse.schema"
TAG_STATUS = "timelapse.status"
TAG_ROUNDS = "timelapse.rounds"
TAG_SAMPLE_SET = "timelapse.sample_set"
TAG_MANIFEST = "timelapse.manifest"
TAG_HEALTH = "timelapse.health"
TAG_SCORES = "timelapse.scores."
TAG_SYNC = "timelapse.sync"
TAG_TOKEN = "timelapse.token"  # noqa: S105 - no secret: it marks a run as made by one spool
TAG_COMMAND = "timelapse.command"
TAG_JOB = "timelapse.job_id"
TAG_JOB_USER = "timelapse.job_user_id"
TAG_LAUNCHER = "timelapse.launcher"
TAG_LOG_TAIL = "timelapse.log_tail"
TAG_COMMIT = "mlflow.source.git.commit"

# Tags of a logged model that stands for a checkpoint.
TAG_CHECKPOINT = "timelapse.checkpoint"
TAG_CHECKPOINT_STEP = "timelapse.step"
TAG_CHECKPOINT_ATTEMPT = "timelapse.attempt"

# What a scheduler tells a job, as environment variables. The token is the job's own: we never store it.
JOB_ID = "JOB_ID"
JOB_USER_ID = "JOB_USER_ID"
JOB_TOKEN = "JOB_TOKEN"  # noqa: S105 - the name of a variable

# Parameters of ours stand under a prefix: Transformers logs every training argument by its bare name.
PARAM_PREFIX = "timelapse."

METRIC_PREFIX = "predictions/"
DATASET_CONTEXT = "predictions"
DEFAULT_SET = "main"


def round_file(step: int, attempt: int = 0, set_name: str = DEFAULT_SET) -> str:
    """Return the artifact name of a round: `round-00000120.parquet`, `round-00000120-a1.parquet`.

    A set other than `main` stands in the name too: `round-00000120-probe.parquet`.
    """
    name = f"round-{step:08d}"
    if set_name != DEFAULT_SET:
        name += f"-{set_name}"
    if attempt:
        name += f"-a{attempt}"
    return name + ".parquet"


def scores_file(sha256: str) -> str:
    """Return the artifact name of scores that came later, by the SHA-256 of the file."""
    return f"scores-{sha256[:16]}.parquet"


def round_place(file: str) -> tuple[int, int] | None:
    """Return step and attempt of a round's artifact name, or None for another file."""
    found = re.fullmatch(r"round-(\d{8,})(?:-(?!a\d+\.).+?)?(?:-a(\d+))?\.parquet", file)
    return (int(found[1]), int(found[2] or 0)) if found else None


def round_places(files: Iterable[str], set_name: str = DEFAULT_SET) -> list[tuple[int, int]]:
    """Return step and attempt of each round of a set among artifact names."""
    places = {file: round_place(file) for file in files}
    return [place for file, place in places.items() if place and round_file(*place, set_name) == file]


def base_set_name(set_name: str) -> str:
    """Return the name of the set that holds what the base of a PEFT model answers: `main-base` for `main`."""
    return f"{set_name}-base"


def is_set_name(text: str) -> bool:
    """Return whether a sample set may have this name: it becomes part of file and metric names."""
    return bool(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", text)) and not re.fullmatch(r".*?-?a\d+", text)


def metric(name: str, set_name: str = DEFAULT_SET) -> str:
    """Return the MLflow metric name of a round's number: `predictions/exact_match`; see `plain`."""
    return plain(METRIC_PREFIX + (name if set_name == DEFAULT_SET else f"{set_name}/{name}"))


def plain(name: str) -> str:
    """Return a name as MLflow takes it for a metric, a parameter or a tag.

    Other characters become `_`, and so does a `/` that is not between two parts; a long name is cut at 250.
    No character is added, so that it stays that long.
    """
    cut = re.sub(r"[^\w./ :-]", "_", name)[:250]
    return re.sub(r"(?<![^/])(/|\.(?=\.?(/|$)))|^\.(?=\.)|/$", "_", cut) or "_"


def is_free(file: str) -> bool:
    """Return whether a text may be stored under a name: one that every disk takes, and none of our own."""
    ours = (MANIFEST_FILE, SAMPLES_FILE, ROUNDS_FILE, LATEST_FILE, REPORT_FILE)
    return (
        PurePath(file).name == file
        and file not in ("", "..")
        and len(file.encode(errors="replace")) <= 200
        and not (file in ours or re.fullmatch(r"(round|scores)-.*\.parquet", file))
    )
