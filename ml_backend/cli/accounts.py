"""The commands about accounts of the dashboard: add, list, remove."""

from __future__ import annotations

import getpass
import json
import sys

import click

from ml_backend.cli.command import Failure, UsageFailure, main, settings_with, spoken

_LONGEST_LINE = 10_000


@main.group()
def accounts() -> None:
    """Say who may look at the dashboard, and who may act in it."""


@accounts.command("add")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(("viewer", "manager")),
    default="viewer",
    show_default=True,
    help="A viewer reads; a manager may act as well (roll back, pin...).",
)
@click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of the input."
)
@spoken
def add(name: str, role: str, password_stdin: bool) -> None:
    """Make the account NAME, or give it another password and role; its visits end then."""
    settings = settings_with()
    from ml_backend.store.database import open_store

    password = _password(password_stdin)
    store = open_store(settings)
    try:
        known = store.accounts.get(name) is not None
        account = store.accounts.save(name, password, role)
        action = "account changed" if known else "account made"
        store.accounts.note(who(), action, account.name, role=role)
    finally:
        store.close()
    click.echo(f"The account {account.name!r} ({role}) is {'changed' if known else 'made'}.")
    click.echo(f"Log in at {settings.browser_url}/dashboard/")


@accounts.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@spoken
def list_accounts(as_json: bool) -> None:
    """List the accounts: name, role, and when each was last used."""
    settings = settings_with()
    from ml_backend.store.database import open_store

    store = open_store(settings)
    try:
        known = store.accounts.listing()
    finally:
        store.close()
    told = [
        {
            "name": account.name,
            "role": account.role,
            "made": account.created_at.isoformat(timespec="seconds"),
            "last_login": account.last_login_at.isoformat(timespec="seconds")
            if account.last_login_at
            else None,
        }
        for account in known
    ]
    if as_json:
        click.echo(json.dumps(told, indent=2))
    elif not told:
        click.echo("There is no account yet; `galaxyloop accounts add NAME` makes one.")
    for one in [] if as_json else told:
        click.echo(f"{one['name']}  {one['role']}  last login: {one['last_login'] or 'never'}")


@accounts.command("remove")
@click.argument("name")
@spoken
def remove(name: str) -> None:
    """Remove the account NAME; whoever is logged in with it is out at once."""
    settings = settings_with()
    from ml_backend.store.database import open_store

    store = open_store(settings)
    try:
        if not store.accounts.remove(name):
            raise Failure(f"No account is called {name!r}; `galaxyloop accounts list` names them.")
        store.accounts.note(who(), "account removed", name)
    finally:
        store.close()
    click.echo(f"The account {name!r} is removed.")


def _password(from_input: bool) -> str:
    if from_input:
        return sys.stdin.readline(_LONGEST_LINE).rstrip("\r\n")
    if not sys.stdin.isatty():
        raise UsageFailure("There is no terminal to ask for a password: use --password-stdin.")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


def who() -> str:
    """Return who runs the command, as the audit log writes it."""
    try:
        return f"{getpass.getuser()} (command line)"[:100]
    except (KeyError, OSError):
        # A container's user may have no name.
        return "command line"
