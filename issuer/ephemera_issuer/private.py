"""The private listener's application: what operators and their machines ask, and no caller may."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import Route

from ephemera_issuer.edge.errors import HANDLERS
from ephemera_issuer.edge.health import alive

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.routing import BaseRoute


def create_private_app(*, routes: Collection[BaseRoute] = ()) -> Starlette:
    """Make the private application.

    Every worker serves it at the one private listener, so whatever it answers must be known to
    each of them: from the database, or from the memory that they share.

    Args:
        routes: What it answers besides `/healthz`, each with its whole path.
    """
    app = Starlette(
        routes=[Route("/healthz", alive), *routes],
        exception_handlers=HANDLERS,
    )
    # A redirect would be made from the Host header, and would carry a credential along.
    app.router.redirect_slashes = False
    return app
