"""Tokens kept ahead of the calls that need them."""

from ephemera_client.pool.pool import Pool
from ephemera_client.pool.stock import Ticket

__all__ = ["Pool", "Ticket"]
