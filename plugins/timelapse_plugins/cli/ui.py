"""`timelapse ui`: the pages in a browser, for a store of this machine or for a server elsewhere."""

from __future__ import annotations

import atexit
import html
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import click

from timelapse.errors import RunError

USUAL_PORT = 5000
"""MLflow's own; another is taken if it is not free and none was asked for."""


@click.command()
@click.option("--tracking-uri", metavar="URI", help="Where MLflow is. [default: MLflow's own setting]")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help=f"The port on 127.0.0.1. [default: {USUAL_PORT}, or any if it is taken]",
)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def ui(tracking_uri: str | None, port: int | None, no_browser: bool) -> None:
    """Show runs and their predictions in a browser.

    For a store of this machine (a database, a folder) this starts MLflow's own server with the pages inside.
    For a server elsewhere (https://…) it shows the pages alone, read-only, with your own credentials.

    \b
    Example:
      timelapse ui
      timelapse ui --tracking-uri https://mlflow.example.com
    """  # noqa: D301 - click reads the character \b: keep these lines
    import mlflow

    uri = tracking_uri or mlflow.get_tracking_uri()
    if uri.startswith("databricks"):
        raise RunError(
            "`timelapse ui` shows MLflow's own stores and servers; Databricks has pages of its own."
        )

    def announce(address: str) -> None:
        click.echo(f"Timelapse: {address}\nCtrl+C ends it.")
        if not no_browser and sys.stdout.isatty():
            click.launch(private_page(address))

    with listen(port) as listener:
        if uri.startswith(("http://", "https://")):
            from timelapse_plugins.remote_pages import check_server, first_page, serve_remote

            check_server(uri)
            serve_remote(uri, listener, first_page(uri), announce)
            return
        chosen: int = listener.getsockname()[1]  # MLflow opens it anew
    from timelapse_plugins.local_server import check_store, serve_local

    check_store(uri)
    sys.exit(serve_local(uri, chosen, announce))


def private_page(address: str) -> str:
    """Return the address of a file of this user alone that leads on to an address, until the program ends.

    The address of a server elsewhere holds a token, and every user of a machine can read which arguments a
    browser was started with.
    """
    folder = tempfile.mkdtemp(prefix="timelapse-ui-")  # for this user alone
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = Path(folder, "open.html")
    target = html.escape(address)
    file.write_text(
        f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={target}">'
    )
    return file.as_uri()


def listen(port: int | None) -> socket.socket:
    """Return a socket that listens on 127.0.0.1.

    Args:
        port: The port; None for the usual one, or any that is free.

    Raises:
        RunError: The port that was asked for is taken.
    """
    for wanted in (port,) if port else (USUAL_PORT, 0):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", wanted))
            listener.listen()
        except OSError:
            listener.close()
        else:
            return listener
    raise RunError(f"Port {port} of 127.0.0.1 is taken: choose another with --port, or leave --port out.")
