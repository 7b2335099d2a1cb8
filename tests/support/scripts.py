"""A warm template of scripts: it has imported what trainings import, and forks one script after the other.

Reads one JSON object a line from stdin: `script`, `folder` (where it runs; what it prints goes to `out` and
`err` there) and `environment`; answers with its exit status when it has ended.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from importlib import import_module
from pathlib import Path

from warm import warm_up

NEEDED = ("transformers.trainer", "transformers.trainer_seq2seq", "trl.trainer.dpo_trainer")


def become(script: str, folder: str, environment: dict[str, str]) -> None:
    """Run a script in this process as `python SCRIPT` would."""
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for stream, kind in ((1, "out"), (2, "err")):
        os.dup2(os.open(kind, os.O_WRONLY | os.O_CREAT, 0o600), stream)
    os.environ.update(environment)
    sys.argv, sys.orig_argv = [script], [sys.executable, script]
    sys.path[0] = str(Path(script).parent)
    runpy.run_path(script, run_name="__main__")


def main() -> None:
    for module in NEEDED:
        import_module(module)
    warm_up()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(**json.loads(line))
            return
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
