"""Logging: one line an event on standard error, for people on a terminal and as JSON elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import Literal, TextIO, TypeAlias

import structlog

Style: TypeAlias = Literal["json", "console"]
Level: TypeAlias = Literal["debug", "info", "warning", "error"]


def configure_logs(
    stream: TextIO | None = None,
    *,
    style: Style | None = None,
    level: Level = "info",
) -> None:
    """Send what the issuer and its libraries log to `stream`.

    Tracebacks are plain: frames with their variables would show tokens and secrets. For the same
    reason libraries are never asked for their debugging.

    Args:
        stream: Where to; standard error by default.
        style: By default `console` where `stream` is a terminal, and `json` elsewhere.
        level: The least that is logged.
    """
    stream = stream or sys.stderr
    least = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: list[structlog.types.Processor] = (
        [
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if style == "console" or (style is None and stream.isatty())
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(least, logging.INFO))
    logging.getLogger("ephemera_issuer").setLevel(least)
    # They write a line for every migration or every fetch of a client's keys, with its whole URL.
    for chatty in ("alembic", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # Below this it writes a line for every malformed request, as fast as anyone cares to send them.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
