"""Administration by whoever may read and write the database."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from ephemera_client import instant
from ephemera_issuer.admin import documents, explanation, revoking
from ephemera_issuer.database import open_database
from ephemera_issuer.recorded import opened
from ephemera_issuer.registry.clients import drop_secret, find_client, roll_secret, set_disabled
from ephemera_issuer.registry.secrets import SecretsDirectory
from ephemera_issuer.registry.store import read_registry
from ephemera_issuer.rotation import SigningKeys, require_ring
from ephemera_issuer.sealing_key import open_sealing_keys
from ephemera_issuer.settings import Settings
from ephemera_issuer.timeline import timeline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ephemera_issuer.admin.documents import Document
    from ephemera_issuer.database import Database
    from ephemera_issuer.registry.entries import Registry


class DatabaseAdministration:
    """Works on the database that `settings` name, which is there already.

    Who looks opens no audit; what changes is recorded by whoever runs this process.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    def registry(self) -> Registry:
        """The registry as it is now."""
        with self._database.read() as connection:
            return read_registry(connection)

    def clients(self) -> Document:
        """All clients with their grants."""
        registry = self.registry()
        listed = [_client(registry, id_) for id_ in sorted(registry.clients)]
        return {"registry_version": registry.version, "clients": listed}

    def client(self, client: str) -> Document:
        """One client with its grants."""
        registry = self.registry()
        return {"registry_version": registry.version, "client": _client(registry, client)}

    def set_disabled(self, client: str, *, disabled: bool) -> bool:
        """Disable or enable a client, and tell whether that changed anything."""
        with opened(self._settings) as database:
            return set_disabled(database, client, disabled=disabled)

    def roll_secret(self, client: str, secrets_dir: Path) -> Path:
        """Give a client a second secret, and return the file that holds it."""
        with opened(self._settings) as database:
            return roll_secret(database, client, SecretsDirectory(secrets_dir, reuse=False))

    def drop_secret(self, client: str, *, oldest: bool) -> None:
        """Take one of a client's two secrets away."""
        with opened(self._settings) as database:
            drop_secret(database, client, oldest=oldest)

    def keys(self) -> Document:
        """The signing keys."""
        with self._database.read() as connection:
            stored = require_ring(connection)
        every = self._settings.rotate_every
        return documents.ring(stored.issuer, stored.ring, every=every)

    def rotate(self, *, emergency: bool) -> Document:
        """Let the pending key sign; the signing keys after that."""
        with self._signing_keys() as keys:
            algorithm = self._settings.algorithm
            ring = keys.rotate(algorithm, now=instant.read().wall, emergency=emergency)
        return documents.ring(keys.issuer, ring, every=self._settings.rotate_every)

    def timeline(self) -> Document:
        """What a rotation would do, and when."""
        with self._database.read() as connection:
            stored = require_ring(connection)
        algorithm = self._settings.algorithm
        told = timeline(stored.ring, algorithm=algorithm, now=instant.read().wall)
        return documents.timeline(stored.issuer, told)

    def revoke_key(self, kid: str) -> Document:
        """Withdraw a key for good; the signing keys after that."""
        with self._signing_keys() as keys:
            ring = keys.revoke(kid, self._settings.algorithm, now=instant.read().wall)
        return documents.ring(keys.issuer, ring, every=self._settings.rotate_every)

    def revoke_token(self, jti: str) -> Document:
        """Revoke one token."""
        with opened(self._settings) as database:
            return revoking.revoke_one(database, jti, clock=instant.read)

    def revoke_tokens(
        self, *, client: str | None, audience: str | None, until: int | None
    ) -> Document:
        """Revoke all tokens of a client, for an audience, or of the one for the other."""
        with opened(self._settings) as database:
            return revoking.revoke_many(
                database, client=client, audience=audience, until=until, clock=instant.read
            )

    def explain(
        self, *, client: str, audience: str, scopes: Sequence[str], lifetime: int | None
    ) -> Document:
        """Say what a request would get."""
        return explanation.explain(
            self._database,
            client=client,
            audience=audience,
            scopes=scopes,
            lifetime=lifetime,
            clock=instant.read,
        )

    @contextmanager
    def _signing_keys(self) -> Iterator[SigningKeys]:
        with opened(self._settings) as database:
            with database.read() as connection:
                stored = require_ring(connection)
            yield SigningKeys(
                database=database,
                sealing_keys=open_sealing_keys(database, file=self._settings.sealing_key_file),
                issuer=self._settings.issuer or stored.issuer,
            )


@contextmanager
def local_administration() -> Iterator[DatabaseAdministration]:
    """Open the database that the settings lead to.

    Raises:
        DatabaseUnusable: There is none, or it does not answer.
    """
    settings = Settings()
    with closing(open_database(settings.database_url, create=False)) as database:
        yield DatabaseAdministration(database, settings)


def _client(registry: Registry, client: str) -> Document:
    granted = documents.grants_of(registry, client)
    return documents.client_with_grants(find_client(registry, client), granted)
