"""`timelapse config schema`: the JSON schema of a configuration."""

from __future__ import annotations

import click


@click.command(epilog="Example: timelapse config schema > timelapse.schema.json")
def schema() -> None:
    """Print the JSON schema of a configuration: every field, its type, default and meaning.

    Editors complete and check YAML with it: `# yaml-language-server: $schema=timelapse.schema.json` as the
    first line of a configuration.
    """
    from timelapse.cli.terminal import print_json
    from timelapse.config.model import json_schema

    print_json(json_schema())
