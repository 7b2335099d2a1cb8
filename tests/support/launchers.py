"""A warm template of launchers: it has imported everything, and forks one at a word.

Reads one JSON object a line from stdin: `name` (its output goes to NAME.out and NAME.err), `environment` and
the arguments of `timelapse_training.launch.launch`; answers each with `process PID`. `{"wait": PID}` is
answered with `code CODE`, below 0 for a signal.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from warm import warm_up

from timelapse_training.launch import launch
from timelapse_training.launching.record import LaunchRun


def become_launcher(name: str, environment: dict[str, str], arguments: dict[str, Any]) -> None:
    for stream, kind in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{name}.{kind}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), stream)
    os.environ.update(environment)
    for number, handler in (
        (signal.SIGHUP, signal.SIG_DFL),
        (signal.SIGTERM, signal.SIG_DFL),
        (signal.SIGINT, signal.default_int_handler),
    ):
        signal.signal(number, handler)  # whoever runs the tests may have them ignored, as `nohup` does
    if arguments.pop("fails", False):
        LaunchRun.beat = lambda run, log: 1 / 0  # type: ignore[assignment, return-value, method-assign]
    sys.exit(launch(**arguments))


def main() -> None:
    assert "torch" not in sys.modules, "a launcher stands beside a training, and shall be small"
    warm_up()
    print("warm", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            print("code", os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1]), flush=True)
            continue
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            become_launcher(request.pop("name"), request.pop("environment"), request)
        print("process", child, flush=True)


if __name__ == "__main__":
    os.chdir(Path(sys.argv[1]))
    main()
