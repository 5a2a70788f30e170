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


def test_what_any_caller_could_fill_the_log_with_is_not_logged() -> None:
    stream = io.StringIO()
    configure_logs(stream)
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    assert stream.getvalue() == ""
