"""Registry files: TOML with the arrays of tables that `schema` knows, read strictly.

Every problem of every file is found before any is reported; an unknown key is one.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ephemera_issuer.errors import Problem, RegistryInvalid
from ephemera_issuer.registry.declarations import Declarations, Place
from ephemera_issuer.registry.lines import locate
from ephemera_issuer.registry.schema import ENTRIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ephemera_issuer.registry.schema import Entries

_Found = dict[str, dict[Any, Any]]
_MOST_BYTES = 16 * 1024 * 1024


def read_files(path: Path) -> Declarations:
    """Read one file, or every `*.toml` below a directory, hidden ones apart.

    Raises:
        RegistryInvalid: With all problems of all files.
    """
    problems: list[Problem] = []
    found: _Found = {name: {} for name in ENTRIES}
    for file in _files(path):
        try:
            text, document = _load(file)
        except RegistryInvalid as error:
            problems += error.problems
        else:
            problems += sorted(_declare_all(document, text, str(file), found), key=_line)
    if problems:
        raise RegistryInvalid(problems)
    return Declarations(**found)


def _line(problem: Problem) -> int:
    return problem.line or 0


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files: list[Path] = []
    # A directory passed over in silence would, with --prune, remove what it declares.
    for directory, below, names in os.walk(path, onerror=_unreadable):
        # What is hidden is not meant: versions of a mounted ConfigMap, an editor's copies.
        below[:] = [name for name in below if not name.startswith(".")]
        files += (
            Path(directory, name)
            for name in names
            if name.endswith(".toml") and not name.startswith(".")
        )
    if not files:
        raise RegistryInvalid([Problem(str(path), None, "", "the directory has no *.toml file")])
    return sorted(files)


def _unreadable(error: OSError) -> NoReturn:
    message = error.strerror or "cannot be read"
    raise RegistryInvalid([Problem(str(error.filename), None, "", message)]) from error


def _load(file: Path) -> tuple[str, dict[str, Any]]:
    line = None
    try:
        with file.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
        if len(content) <= _MOST_BYTES:
            text = content.decode().replace("\r\n", "\n")
            return text, tomllib.loads(text)
        message = f"is over {_MOST_BYTES} bytes"
    except OSError as error:
        message = error.strerror or "cannot be read"
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = "is not UTF-8"
    except RecursionError:
        message = "is nested too deeply"
    except ValueError as error:
        reason, _, position = str(error).partition(" (at line ")
        line = int(position.partition(",")[0]) if position else None
        message = f"is not TOML: {reason}"
    raise RegistryInvalid([Problem(str(file), line, "", message)])


def _declare_all(
    document: dict[str, Any], text: str, file: str, found: _Found
) -> Iterator[Problem]:
    lines = locate(text)
    for name, entries in document.items():
        line = lines["", 0].get(name) or lines.get((name, 0), {}).get("")
        if name not in ENTRIES:
            yield Problem(file, line, name, _unknown(name, ENTRIES))
        elif not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            yield Problem(file, line, name, f"must be tables, each under [[{name}]]")
        else:
            for index, entry in enumerate(entries):
                place = Place(file, f"{name}[{index}]", lines.get((name, index), {"": line or 1}))
                yield from _declare(ENTRIES[name], entry, place, found[name])


def _declare(
    kind: Entries, entry: dict[str, object], place: Place, found: dict[Any, Any]
) -> list[Problem]:
    problems = [
        place.problem(key, _unknown(key, kind.fields)) for key in entry if key not in kind.fields
    ]
    values: dict[str, Any] = {}
    for key, field in kind.fields.items():
        if key not in entry:
            values[key] = field.default
            if field.required:
                problems.append(place.problem("", f"{key} is missing"))
            continue
        try:
            values[key] = field.check(entry[key])
        except ValueError as error:
            problems.append(place.problem(key, str(error)))
    problems += kind.complete(entry, values, place)
    if not problems:
        name = tuple(values[key] for key in kind.name)
        declared = kind.declaration(**values, place=place)
        first = found.setdefault(name[0] if len(name) == 1 else name, declared)
        if first is not declared:
            problems.append(place.problem("", f"is declared already at {first.place}"))
    return problems


def _unknown(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return (
        f"no such key; did you mean {near[0]}?"
        if near
        else f"no such key; there are {', '.join(known)}"
    )
