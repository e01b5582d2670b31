"""The command itself, and how it speaks of errors."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import click

from ml_backend.errors import GalaxyLoopError, SettingsError
from ml_backend.settings import Settings, load_settings

P = ParamSpec("P")
R = TypeVar("R")


class Failure(click.ClickException):
    """An error that a person can act on: one message, no stack trace."""

    def show(self, file: Any = None) -> None:
        """Print the message to standard error."""
        click.echo(f"galaxyloop: {self.message}", err=True)


class UsageFailure(Failure):
    """A setting or an argument that cannot be used."""

    exit_code = 2


def spoken(command: Callable[P, R]) -> Callable[P, R]:
    """Turn our errors into one clear message and an exit code: 2 for settings, 1 for the rest."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except SettingsError as error:
            raise UsageFailure(str(error)) from None
        except GalaxyLoopError as error:
            raise Failure(str(error)) from None

    return run


def settings_with(**overrides: object) -> Settings:
    """Return the settings of the environment with the options that were given on top.

    Logs go to standard error from here on, so that standard output holds the answer alone.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    settings = load_settings(**given)
    from ml_backend.logs import configure_logs

    configure_logs(settings)
    return settings


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="galaxyloop", prog_name="galaxyloop")
def main() -> None:
    """Put people in the loop of a large vision model for galaxy images, in Label Studio.

    Settings are read from the environment and an .env file; `galaxyloop settings` lists them.
    """
