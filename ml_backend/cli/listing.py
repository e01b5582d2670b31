"""The command that lists all settings."""

from __future__ import annotations

import click

from ml_backend.cli.command import main, spoken
from ml_backend.settings import Settings


@main.command("settings")
@spoken
def list_settings() -> None:
    """List every setting: name, default, meaning."""
    for field in Settings.model_fields.values():
        default = field.default
        if hasattr(default, "get_secret_value"):
            default = default.get_secret_value()
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        click.echo(f"{field.alias}={'' if shown is None else shown}\n    {field.description}")
