"""Lists, a page at a time: a page begins after the name that the one before ended with."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field

from ephemera_client.compact import decode_base64url, strict_json
from ephemera_issuer.admin.api.call import Query, number
from ephemera_issuer.admin.api.problems import malformed

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST = 500
E = TypeVar("E")


class Paged(Query):
    """Which page of a list."""

    limit: Annotated[int, Field(ge=1, le=LARGEST), BeforeValidator(number)] = 100
    after: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """What `next` of the page before said."""


def page(entries: Mapping[Any, E], query: Paged) -> tuple[list[E], str | None]:
    """Take a page of entries by name, and say where the next one begins; None after the last.

    What is added or removed between two pages neither repeats nor hides another entry.

    Raises:
        ApiRefused: 400, `after` is no place in such a list.
    """
    names = sorted(entries)
    if query.after is not None:
        place = read_cursor(query.after)
        try:
            names = [name for name in names if name > place]
        except TypeError:
            raise _no_cursor() from None
    taken = names[: query.limit]
    further = len(names) > len(taken)
    return [entries[name] for name in taken], cursor(taken[-1]) if further else None


def cursor(place: object) -> str:
    """Spell a place in a list."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).rstrip(b"=").decode()


def read_cursor(text: str) -> Any:
    """Read it again.

    Raises:
        ApiRefused: 400, it is none.
    """
    try:
        place = strict_json(decode_base64url(text))
    except ValueError:
        raise _no_cursor() from None
    return tuple(place) if isinstance(place, list) else place


def _no_cursor() -> Exception:
    return malformed("after is not the next of another page")
