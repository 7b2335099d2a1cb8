"""The `timelapse` program. Its commands are found by name and loaded when they are called."""

from __future__ import annotations

import errno
import os
import sys
from importlib.metadata import EntryPoint, entry_points
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Any

import click

from timelapse.errors import MissingExtraError, TimelapseError
from timelapse.hints import nearest

if TYPE_CHECKING:
    from collections.abc import Callable

GROUP = "timelapse.commands"
"""The entry-point group through which packages add commands; a dot in a name makes a subcommand."""

_UNWRITABLE = frozenset((errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO))

_EXTRAS = {"timelapse_training": "training", "timelapse_plugins": "server"}


class CommandGroup(click.Group):
    """A group of commands given by entry points, each imported when it is needed.

    A command module imports at its top only what is light: the list of commands imports them all.
    """

    def __init__(self, *args: Any, find: Callable[[], dict[str, EntryPoint]], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._find = find

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in alphabetical order."""
        return sorted({name.partition(".")[0] for name in self._find()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, loaded; one whose packages are missing says so when it is called."""
        known = self._find()
        if cmd_name in known:
            return _load(known[cmd_name])
        members = {
            name.removeprefix(f"{cmd_name}."): entry
            for name, entry in known.items()
            if name.startswith(f"{cmd_name}.")
        }
        if not members:
            return None
        summary = f"Commands: {', '.join(sorted(members))}."
        return CommandGroup(cmd_name, find=lambda: members, help=summary)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the words begin with; one that is misspelt is told the nearest."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(
                f"{error.message}{nearest(args[0], self.list_commands(ctx))}", ctx
            ) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for; a package that it misses is an error of ours."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            entry = self._find().get(ctx.invoked_subcommand or "")
            missing = _missing_extra(entry, error) if entry else None
            if missing is None:
                raise
            raise missing from error


class Program(CommandGroup):
    """The outermost group: turns our errors into their notes, one line, and the exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except TimelapseError as error:
            from timelapse.cli.terminal import visible

            for note in getattr(error, "__notes__", ()):
                click.echo(visible(note, one_line=True), err=True)
            raise _Failure(str(error)) from error
        except OSError as error:
            if error.errno not in _UNWRITABLE:
                raise
            # Not click's 1, which says that a gate failed. What is left in the stream fails at exit, too.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise _Failure(f"The output cannot be written: {error.strerror}.") from error


@click.group(
    cls=Program,
    find=lambda: {entry.name: entry for entry in entry_points(group=GROUP)},
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(installed_version("mlflow-timelapse"), prog_name="timelapse")
def main() -> None:
    """Watch a language model's answers change while it trains, in MLflow."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that cannot show a character must not stop us
            stream.reconfigure(errors="replace")


def _load(entry: EntryPoint) -> click.Command:
    try:
        command = entry.load()
    except ImportError as error:
        return _unavailable(entry, error)
    assert isinstance(command, click.Command)
    return command


def _unavailable(entry: EntryPoint, error: ImportError) -> click.Command:
    """Return a command that takes any arguments and says what must be installed."""
    missing = _missing_extra(entry, error)
    reason = missing or TimelapseError(f"'timelapse {entry.name}' cannot be loaded: {error}")
    needs = f"Needs: pip install 'mlflow-timelapse[{_extra(entry)}]'" if missing else "Cannot be loaded."

    def refuse(arguments: tuple[str, ...]) -> None:
        raise reason from error

    return click.Command(
        entry.name.rpartition(".")[2],
        callback=refuse,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True, "help_option_names": []},
        short_help=needs,
    )


def _missing_extra(entry: EntryPoint, error: ImportError) -> MissingExtraError | None:
    """Return the error to show if a foreign package is missing that an extra would bring, else None."""
    extra, package = _extra(entry), (error.name or "").partition(".")[0]
    if extra is None or not package or package in {"timelapse", *_EXTRAS}:
        return None
    return MissingExtraError(extra, package)


def _extra(entry: EntryPoint) -> str | None:
    return _EXTRAS.get(entry.module.partition(".")[0])


class _Failure(click.ClickException):
    """An error of ours, as click shows it: one line on stderr, exit code 2."""

    exit_code = 2


if __name__ == "__main__":
    main(prog_name="timelapse")
