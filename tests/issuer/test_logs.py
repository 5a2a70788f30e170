from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog

from ephemera_issuer.logs import configure_logs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ephemera_issuer.logs import Level, Style

SECRET = "unmistakable-secret"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Give logging back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def fail_with_a_secret_at_hand() -> None:
    secret = SECRET
    try:
        Path("/nowhere/at/all").read_text(encoding="utf-8")
    except FileNotFoundError:
        structlog.get_logger().exception("not_written", length=len(secret))
        logging.getLogger("library").exception("Not written either")


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["file", "terminal"])
def test_a_traceback_shows_no_variables(stream: io.StringIO) -> None:
    configure_logs(stream)
    fail_with_a_secret_at_hand()
    output = stream.getvalue()
    assert output.count("FileNotFoundError: ") == 2
    assert "fail_with_a_secret_at_hand" in output
    assert SECRET not in output


def test_elsewhere_than_on_a_terminal_each_line_is_a_json_document() -> None:
    stream = io.StringIO()
    configure_logs(stream)
    structlog.get_logger().info("registry_applied", changes=3)
    fail_with_a_secret_at_hand()
    first, *others = map(json.loads, stream.getvalue().splitlines())
    assert (first["event"], first["changes"], first["level"]) == ("registry_applied", 3, "info")
    assert first["timestamp"].endswith("Z")
    assert [line["event"] for line in others] == ["not_written", "Not written either"]


@pytest.mark.parametrize(
    ("stream", "style", "is_json"),
    [
        (io.StringIO(), "console", False),
        (io.StringIO(), "json", True),
        (Terminal(), "console", False),
        (Terminal(), "json", True),
    ],
)
def test_the_format_can_be_chosen_whatever_is_written_to(
    stream: io.StringIO, style: Style, *, is_json: bool
) -> None:
    configure_logs(stream, style=style)
    structlog.get_logger().info("registry_applied", changes=3)
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("{") is is_json
    # Colours are for terminals.
    assert ("\x1b[" in line) is (isinstance(stream, Terminal) and not is_json)


@pytest.mark.parametrize(("level", "logged"), [("debug", 4), ("info", 3), ("warning", 2)])
def test_the_level_is_the_least_that_is_logged(level: Level, logged: int) -> None:
    stream = io.StringIO()
    configure_logs(stream, level=level)
    log = structlog.get_logger("ephemera_issuer.somewhere")
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("something", at=name)
    levels = [json.loads(line)["level"] for line in stream.getvalue().splitlines()]
    assert levels == ["debug", "info", "warning", "error"][-logged:]


def test_libraries_are_never_asked_for_their_debugging_and_clients_urls_not_logged() -> None:
    stream = io.StringIO()
    configure_logs(stream, level="debug")
    for library in ("httpcore.http11", "sqlalchemy.pool", "asyncio", "urllib3", "redis"):
        logging.getLogger(library).debug("what went over the wire")
    logging.getLogger("httpx").info("HTTP Request: GET https://orders.internal/jwks.json")
    assert stream.getvalue() == ""


def test_what_any_caller_could_fill_the_log_with_is_not_logged() -> None:
    stream = io.StringIO()
    configure_logs(stream)
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    assert stream.getvalue() == ""
