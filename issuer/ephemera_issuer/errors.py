"""Everything the issuer raises.

::

    IssuerError
    ├── RegistryInvalid        registry files have problems; nothing was applied
    ├── SecretFileProblem      a generated secret cannot be written to its file; nothing was applied
    ├── UnknownClient          no client of that name is in the registry
    ├── UnknownAudience        nor is there an audience of that name
    ├── RevocationRefused      what is to be revoked cannot be, as it was named; nothing was written
    ├── RollRefused            a client would have too many credentials, or none
    ├── EntryInUse             an entry of the registry cannot go, others refer to it
    ├── PreconditionFailed     what was to be changed is not what the caller has seen
    ├── AdministrationRefused  an issuer that is administered over HTTP refuses, or does not answer
    ├── InitRefused            files to start from are there already, or cannot be written
    ├── SettingsInvalid        a setting, or the name of one, is wrong; nothing was started
    ├── DatabaseUnusable       the database cannot be opened, read or written
    │   ├── DatabaseMissing    there is none where it should be
    │   ├── DatabaseTooNew     a newer version of Ephemera wrote it; it was not touched
    │   ├── DatabaseOutdated   an older version did, and replicas may share it; it was not touched
    │   └── DatabaseUnreachable  the server that it is on does not answer
    ├── BackupInvalid          a file is no backup, or not a whole one; nothing was restored
    ├── BackupNotWritten       a backup cannot be written to its file
    ├── RestoreRefused         there is something where a backup should go; it was not touched
    ├── SealingKeyProblem      the sealing key is missing, unreadable or another one
    ├── KeysConflict           another process changed the signing keys first; nothing was written
    ├── AuditUnusable          the audit cannot be opened, or there is none to read
    ├── AuditNotWritten        something could not be recorded, and was not done for that reason
    ├── AuditBroken            records have been changed, removed or put in another order
    ├── LedgerUnusable         the ledger of spent assertions cannot be opened
    └── RequestRefused         a token request is refused, with the `error` of RFC 6749 §5.2
        ├── NonceRequired      because its proof needs a nonce; it brings one
        ├── PolicyRefused      because policy says so; it names the rule
        ├── TooManyRequests    because its client or its address asks for too much; it says when
        └── Unavailable        because something cannot be known just now; it says when to come back
            ├── Overcrowded    because too many requests wait already
            └── AuditBehind    because the audit cannot take more records for now

Texts may quote configuration and file names, never a secret and never what a caller sent.
HTTP statuses are the business of `edge`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ephemera_issuer.policy import Rule

RefusalCode = Literal[
    "invalid_request",
    "invalid_client",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
    "server_error",
    "too_many_requests",
    "temporarily_unavailable",
    "invalid_dpop_proof",
    "use_dpop_nonce",
]


class IssuerError(Exception):
    """Root of the issuer's errors."""


class Problem(NamedTuple):
    """One thing wrong in a registry file.

    `line` counts from 1 and is None where no line can be named (a file that cannot be read).
    `field` is the path an author would use, such as `grants[2].scopes`; empty for the whole file.
    """

    file: str
    line: int | None
    field: str
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return (
            f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"
        )


class RegistryInvalid(IssuerError):
    """The registry files have problems, all of them listed; the database is as it was."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SecretFileProblem(IssuerError):
    """A generated secret could not be put where it should go; the database is as it was."""


class UnknownClient(IssuerError):
    """No client of that name is in the registry."""


class UnknownAudience(IssuerError):
    """No audience of that name is in the registry."""


class RevocationRefused(IssuerError):
    """What is to be revoked cannot be, as it was named; the database is as it was."""


class RollRefused(IssuerError):
    """A client's secret cannot be rolled or dropped; the database is as it was."""


class EntryInUse(IssuerError):
    """An audience or a client is referred to by others; the registry is as it was."""


class PreconditionFailed(IssuerError):
    """What was to be changed is another by now, or there already; nothing was written."""


class AdministrationRefused(IssuerError):
    """The issuer that a command was sent to refuses it, or does not answer; the text says why."""


class InitRefused(IssuerError):
    """Files to start from are there already, or cannot be written; nothing was overwritten."""


class SettingsInvalid(IssuerError):
    """One or more settings are wrong; the text has one line for each."""


class DatabaseUnusable(IssuerError):
    """The database cannot be opened, read or written; what was committed before is unharmed."""


class DatabaseMissing(DatabaseUnusable):
    """There is no database where it should be, and none was to be made."""


class DatabaseTooNew(DatabaseUnusable):
    """A newer version of Ephemera wrote this database; nothing in it was changed."""


class DatabaseOutdated(DatabaseUnusable):
    """The tables are of an older version, and not brought up to date unasked: `ephemera migrate`.

    Nothing in the database was changed.
    """


class DatabaseUnreachable(DatabaseUnusable):
    """The server does not answer, or has no room: it may later, so trying again makes sense."""


class BackupInvalid(IssuerError):
    """The file is no backup, a damaged one, or one of a newer version; nothing was restored."""


class BackupNotWritten(IssuerError):
    """A backup cannot be written where it should go; an older one there is as it was."""


class RestoreRefused(IssuerError):
    """The database is not empty, and was not to be replaced; nothing in it was changed."""


class SealingKeyProblem(IssuerError):
    """The sealing key is missing, unreadable, or not the one that sealed the signing keys."""


class KeysConflict(IssuerError):
    """Another process changed the signing keys between our read and our write; try again."""


class LedgerUnusable(IssuerError):
    """The ledger of spent assertions cannot be opened; nothing was started."""


class AuditUnusable(IssuerError):
    """The audit cannot be opened or read, or none is kept; nothing was started."""


class AuditNotWritten(IssuerError):
    """Something could not be recorded in the audit; what was to be recorded was not done."""


class AuditBroken(IssuerError):
    """The audit is not what was written: the text has a line for each thing that is wrong."""


class RequestRefused(IssuerError):
    """A token request is refused.

    `error` is the code of RFC 6749 §5.2 (RFC 8707 §2 for `invalid_target`); `description` is
    `error_description`: printable ASCII without quotes and backslashes, saying what the caller
    may know at the tier of trust it has reached.
    """

    def __init__(self, error: RefusalCode, description: str) -> None:
        self.error: RefusalCode = error
        self.description = description
        super().__init__(f"{error}: {description}")

    @property
    def reason(self) -> str:
        """One of a closed set of names, for whoever counts or records refusals."""
        return self.error


class NonceRequired(RequestRefused):
    """The same request is to come again with this nonce in its proof (RFC 9449 section 8)."""

    def __init__(self, nonce: str) -> None:
        self.nonce = nonce
        super().__init__("use_dpop_nonce", "the DPoP proof must hold the nonce of this answer")


class PolicyRefused(RequestRefused):
    """Policy refuses a request of a known client; `rule` says which part of it."""

    def __init__(self, error: RefusalCode, description: str, *, rule: Rule) -> None:
        self.rule = rule
        super().__init__(error, description)

    @property
    def reason(self) -> str:
        """The name of the rule."""
        return self.rule.value


class TooManyRequests(RequestRefused):
    """A client or an address asks for more than it may; `retry_after` is in seconds, 1 or more."""

    def __init__(self, description: str, *, wait: float) -> None:
        self.retry_after = max(math.ceil(wait), 1)
        super().__init__("too_many_requests", description)


class Unavailable(RequestRefused):
    """Something that an answer needs cannot be known just now; `retry_after` is in seconds."""

    def __init__(self, description: str, *, retry_after: int = 1) -> None:
        self.retry_after = retry_after
        super().__init__("temporarily_unavailable", description)


class Overcrowded(Unavailable):
    """Too many requests wait for news already; `of_address` says whether one caller's alone do."""

    def __init__(self, description: str, *, of_address: bool) -> None:
        self.of_address = of_address
        super().__init__(description)


class AuditBehind(Unavailable):
    """The audit cannot take more records for now: nothing of the request was looked at."""

    def __init__(self) -> None:
        super().__init__("the audit cannot keep up")

    @property
    def reason(self) -> str:
        """Tell it from what else cannot be known."""
        return "audit_behind"
