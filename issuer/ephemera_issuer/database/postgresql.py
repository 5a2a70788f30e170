"""PostgreSQL: one database, used by any number of replicas.

Whatever stands between may be a pooler that hands out another connection for each transaction. So
nothing is left behind in a session: limits and locks are those of a transaction, and no statement
is prepared.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import structlog
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from ephemera_issuer import database_url
from ephemera_issuer.database.transactions import APPENDS, WRITES, Database
from ephemera_issuer.errors import DatabaseUnusable
from ephemera_issuer.settings import is_loopback

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
    from sqlalchemy.pool import ConnectionPoolEntry

CONNECTIONS = 4
"""At most so many for transactions, and one that listens, for each process."""

CONNECT_TIMEOUT = 5
POOL_TIMEOUT = 5
LOCK_TIMEOUT = 10
STATEMENT_TIMEOUT = 15
IDLE_TIMEOUT = 30
"""Seconds that a transaction may wait between two statements, as a stopped process would."""

_CHANNEL = "ephemera"
_ALONE = 0x657068656D657261
"""The advisory lock of whoever writes: 'ephemera'."""

_LISTEN_AGAIN = (1.0, 60.0)
"""Seconds until the first, and between later attempts to listen where that fails."""
_LOOK_UP = 1.0
"""Seconds after which a listener looks whether it is still wanted."""

# A peer that is gone without a word is noticed within ten seconds.
_NETWORK: dict[str, Any] = {
    "connect_timeout": CONNECT_TIMEOUT,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "ephemera",
    "client_encoding": "utf8",
    "prepare_threshold": None,
}
_LIMITS = (
    f"SELECT set_config('statement_timeout', '{STATEMENT_TIMEOUT}s', true),"
    f" set_config('lock_timeout', '{LOCK_TIMEOUT}s', true),"
    f" set_config('idle_in_transaction_session_timeout', '{IDLE_TIMEOUT}s', true)"
)
# What was acknowledged must outlive the server, whatever the server's own default is.
_DURABLE = (
    ", set_config('synchronous_commit', CASE current_setting('synchronous_commit')"
    " WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true)"
)


def database(url: str) -> Database:
    """The database at this URL, as it is; nothing connects yet."""
    server = database_url.server(url)
    engine = _engine(server)
    made = Database(
        engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True),
        # In REPEATABLE READ a writer would see the moment before its turn came.
        engine.execution_options(isolation_level="READ COMMITTED"),
        location=server.location,
        remote=True,
    )

    @event.listens_for(engine, "checkin")
    def checkin(connection: DBAPIConnection | None, _entry: ConnectionPoolEntry) -> None:
        # Of a thread that nobody waits for any more.
        if made.closed and connection is not None:
            connection.close()

    return made


def parameters(server: database_url.Server) -> dict[str, Any]:
    """What a connection is made with. Elsewhere than on this machine it is TLS, and verified.

    `sslmode` in the URL says otherwise.
    """
    options = {k: v for k, v in server.options.items() if k != database_url.PASSWORD_FILE}
    chosen = _NETWORK | options | {"host": server.host, "dbname": server.url.database}
    for name, value in {
        "port": server.url.port,
        "user": server.url.username,
        "password": server.url.password,
    }.items():
        if value is not None:
            chosen[name] = value
    if not server.host.startswith("/") and not is_loopback(server.host):
        chosen.setdefault("sslmode", "verify-full")
        if chosen["sslmode"] == "verify-full":
            chosen.setdefault("sslrootcert", "system")
    return chosen


def _engine(server: database_url.Server) -> Engine:
    fixed = parameters(server)
    password_file = server.options.get(database_url.PASSWORD_FILE)
    engine = create_engine(
        "postgresql+psycopg://",
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT,
        pool_pre_ping=True,
        pool_use_lifo=True,
        use_native_hstore=False,
        hide_parameters=True,
    )

    @event.listens_for(engine, "do_connect")
    def connect(
        dialect: Dialect,
        _entry: ConnectionPoolEntry,
        _arguments: tuple[Any, ...],
        chosen: dict[str, Any],
    ) -> Any:
        # Read for each connection, so that a password may change while this runs.
        secret = {"password": _password(password_file)} if password_file else {}
        return dialect.connect(**chosen | fixed | secret)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get(WRITES):
            connection.exec_driver_sql(_LIMITS + _DURABLE)
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ALONE})")
        elif options.get(APPENDS):
            connection.exec_driver_sql(_LIMITS + _DURABLE)
        else:
            connection.exec_driver_sql(_LIMITS)

    @event.listens_for(engine, "commit")
    def commit(connection: Connection) -> None:
        # Part of the transaction: who listens is told if and when it has happened.
        if connection.get_execution_options().get(WRITES):
            connection.exec_driver_sql(f"NOTIFY {_CHANNEL}")

    return engine


def _password(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8").strip("\r\n")
    except OSError as error:
        raise DatabaseUnusable(f"{file}: {error.strerror}") from error
    except UnicodeError:
        raise DatabaseUnusable(f"{file}: not a UTF-8 text") from None


def listen(database: Database, ended: threading.Event, changed: Callable[[], None]) -> None:
    """Call `changed` after each change, on a connection of its own, until `ended`.

    A convenience: where it does not work, a pooler being in between, changes are seen when they
    are looked for. What goes wrong is logged once, until it works again.
    """
    log = structlog.get_logger()
    wait, longest = _LISTEN_AGAIN
    told = False
    while not ended.is_set():
        try:
            with _listening(database) as connection:
                if told:
                    log.info("listening_again")
                wait, told = _LISTEN_AGAIN[0], False
                changed()  # whatever happened before is news as well
                while not ended.is_set():
                    for _ in connection.notifies(timeout=_LOOK_UP, stop_after=1):
                        changed()
        except (psycopg.Error, SQLAlchemyError, DatabaseUnusable) as error:
            if not told:
                log.info("not_listening", reason=" ".join(str(error).split()))
            told = True
            ended.wait(wait)
            wait = min(2 * wait, longest)


@contextlib.contextmanager
def _listening(database: Database) -> Iterator[psycopg.Connection[Any]]:
    connection = database.raw_connection()
    driver = connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101 - what the engine makes
    # No longer the pool's: it stays open, and none of those for transactions is taken by it.
    connection.detach()
    with contextlib.closing(driver):
        driver.set_autocommit(True)
        driver.execute(f"LISTEN {_CHANNEL}")
        yield driver
