"""Draw docs/demo.svg from the demo's run: `make picture`, after `make demo`."""

import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = (["show", "last", "--limit", "2"], ["show", "last", "--sample", "23"])


def main() -> None:
    """Run the commands with colour, and save what they print as a picture."""
    program = str(Path(sys.executable).with_name("timelapse"))
    environment = os.environ | {"FORCE_COLOR": "1", "COLUMNS": "88", "TERM": "xterm-256color"}
    console = Console(record=True, width=90, file=Path(os.devnull).open("w"), force_terminal=True)  # noqa: SIM115
    for command in COMMANDS:
        console.print(Text(f"$ timelapse {' '.join(command)}", style="bold green"))
        done = subprocess.run(
            [program, *command],
            cwd=ROOT / "demo-output",
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        console.print(Text.from_ansi(done.stdout))
    drawn = console.export_svg(title="timelapse")
    # The font would come from another site; every system has a monospaced one.
    drawn = re.sub(r"@font-face \{.*?\}", "", drawn, flags=re.S)
    (ROOT / "docs" / "demo.svg").write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
