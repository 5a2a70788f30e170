"""`ephemera apply`: make the registry match reviewed files."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from ephemera_issuer import database, recorded
from ephemera_issuer.admin import documents
from ephemera_issuer.cli.identities import phrase
from ephemera_issuer.cli.output import Json, console, print_json
from ephemera_issuer.errors import DatabaseMissing
from ephemera_issuer.registry import application
from ephemera_issuer.registry.application import Applied
from ephemera_issuer.registry.diff import difference
from ephemera_issuer.registry.entries import Registry
from ephemera_issuer.registry.file import read_files
from ephemera_issuer.registry.secrets import SecretsDirectory
from ephemera_issuer.registry.store import read_registry
from ephemera_issuer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ephemera_issuer.registry.declarations import Declarations
    from ephemera_issuer.registry.diff import Change
    from ephemera_issuer.registry.entries import Entry

_SIGNS = {"add": ("+", "green"), "change": ("~", "yellow"), "remove": ("-", "red")}


def apply(  # noqa: PLR0913 - a parameter for each option
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE_OR_DIR",
            help="A registry file, or a directory whose *.toml files are one registry.",
            exists=True,
        ),
    ],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the difference and change nothing.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="Remove what the files do not declare; only for a whole directory.",
        ),
    ] = False,
    secrets_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where a generated secret goes, as CLIENT.secret, readable by its owner only.",
            file_okay=False,
        ),
    ] = None,
    reuse_secrets: Annotated[
        bool,
        typer.Option(
            "--reuse-secrets",
            help="Give a new client the secret that its file in --secrets-dir already holds.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Make the registry match reviewed files, all or nothing, and print the difference.

    A running issuer follows within a second. What files do not mention stays, unless --prune.
    Bad files change nothing; every problem is told with its file, line and field.
    """
    if prune and not path.is_dir():
        raise typer.BadParameter("is only for a whole directory", param_hint="--prune")
    declared = read_files(path)
    if dry_run:
        applied = _compare(Settings().database_url, declared, prune=prune)
    else:
        secrets = SecretsDirectory(secrets_dir, reuse=reuse_secrets) if secrets_dir else None
        with recorded.opened(create=True) as opened:
            applied = application.apply(opened, declared, prune=prune, secrets=secrets)
    if as_json:
        document = {
            "dry_run": dry_run,
            "registry_version": applied.version,
            "changes": [documents.change(change) for change in applied.changes],
            "secret_files": {client: str(file) for client, file in applied.secret_files.items()},
        }
        print_json(document)
    else:
        _print(applied, dry_run=dry_run)


def _compare(url: str, declared: Declarations, *, prune: bool) -> Applied:
    try:
        with closing(database.open_database(url, create=False)) as opened, opened.read() as reader:
            registry = read_registry(reader)
    except DatabaseMissing:
        registry = Registry(audiences={}, clients={}, grants={}, version=0)
    return Applied(difference(declared, registry, prune=prune).changes, registry.version, {})


def _print(applied: Applied, *, dry_run: bool) -> None:
    out = console()
    for change in applied.changes:
        out.print(_line(change))
    for client, file in applied.secret_files.items():
        out.print(Text(f"The secret of {client} is in {file}"))
    count = len(applied.changes)
    changes = f"{count or 'no'} change{'' if count == 1 else 's'}".capitalize()
    if dry_run:
        out.print(f"{changes} to registry version {applied.version}; a dry run, nothing was done.")
    else:
        out.print(f"{changes}; the registry is at version {applied.version}.")


def _name(entry: Entry) -> str:
    return " -> ".join(documents.name(entry).values())


def _line(change: Change) -> Text:
    sign, style = _SIGNS[change.action]
    line = Text(f"{sign} {documents.kind(change.entry)} {_name(change.entry)}", style=style)
    before = {} if change.before is None else documents.values(change.before)
    for name, value in documents.values(change.entry).items():
        if change.action == "add" and (value or isinstance(value, bool)):
            line.append(f"\n    {name} {_word(name, value)}")
        elif change.action == "change" and before[name] != value:
            line.append(f"\n    {name} {_step(name, before[name], value)}")
    return line


def _step(name: str, before: object, after: object) -> str:
    """What became of a value; of a list, what was added and what was taken away."""
    if isinstance(before, list) and isinstance(after, list):
        removed = [f"-{_item(item)}" for item in before if item not in after]
        added = [f"+{_item(item)}" for item in after if item not in before]
        return ", ".join(removed + added)
    return f"{_word(name, before)} -> {_word(name, after)}"


def _word(name: str, value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(_item(item) for item in value)
        case _:
            return f"{value} s" if name == "max_lifetime" else str(value)


def _item(item: str | Mapping[str, Any]) -> str:
    match item:
        case str():
            return item
        case {"alg": alg, "kid": kid}:
            return f"{alg} {kid}"
        case _:
            return phrase(item)
