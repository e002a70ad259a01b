"""The class of the Ape scripts' commands: connected to a network, bad input shown as one line."""

from __future__ import annotations

import sys
from typing import Any

import click
from ape.cli import ConnectedProviderCommand

from offchain.config import BallastError


class Connected(ConnectedProviderCommand):
    """Ape's connected command; a `BallastError` is one line, and its exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BallastError as error:
            click.echo(f"ballast: {error}", err=True)
            sys.exit(error.exit_code)
