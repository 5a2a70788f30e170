"""A stock of tokens with an issuer that is counted on paper, and a clock moved by hand."""

import itertools

from client.fixtures_verifying import ManualClock

from ephemera_client.errors import EphemeraError, IssuerUnavailable
from ephemera_client.pool.stock import Order, Stock, Ticket
from ephemera_client.token_request import IssuedToken, Wanted

AUDIENCE = "https://billing.internal"
PATIENCE = 10.0


class Shop:
    """A stock, and what its workers would do, done by hand."""

    def __init__(
        self, *, size: int = 500, reusable: bool = False, most: int = 100, lifetime: float = 120.0
    ) -> None:
        self.clock = ManualClock()
        wanted = Wanted(AUDIENCE, None, None)
        self.stock = Stock(wanted, size=size, reusable=reusable, random=lambda: 0.5)
        self.most = most
        self.lifetime = lifetime
        self.single_use = not reusable
        self.numbers: list[int] = []
        self._counter = itertools.count(1)

    def take(self, **told: IssuedToken) -> str | Ticket:
        taken = self.stock.take(self.clock(), self.clock().monotonic + PATIENCE, **told)
        return taken if isinstance(taken, Ticket) else str(taken)

    def take_many(self, number: int) -> list[str | Ticket]:
        return [self.take() for _ in range(number)]

    def begin(self) -> Order:
        """Let one more worker begin, and place its order."""
        assert self.stock.begins(self.clock())
        order = self.stock.order(self.clock())
        assert isinstance(order, Order)
        return order

    def send(self, order: Order) -> int:
        """Say how many the request of `order` is for."""
        self.numbers.append(self.stock.number(order, self.most, self.clock()))
        return self.numbers[-1]

    def land(self, order: Order) -> list[str]:
        """Answer the request; return the tokens that went to calls in the line."""
        asked = self.clock()
        tokens = [self.made() for _ in range(order.number)]
        served = self.stock.landed(order, tokens, asked, self.clock())
        return [str(ticket.held.token) for ticket in served if ticket.held]

    def made(self) -> IssuedToken:
        return IssuedToken(
            f"t{next(self._counter)}",
            audience=AUDIENCE,
            scopes=frozenset(),
            expires_at=self.clock().wall + self.lifetime,
            single_use=self.single_use,
        )

    def fail(self, order: Order, error: EphemeraError) -> list[EphemeraError]:
        """Fail the request; return what the calls in the line are told."""
        ended = self.stock.failed(order, error, self.clock())
        return [ticket.error for ticket in ended if ticket.error]

    def fill(self) -> list[int]:
        """Do all that a worker would; return how many each request was for."""
        before = len(self.numbers)
        if not self.stock.begins(self.clock()):
            return []
        while isinstance(order := self.stock.order(self.clock()), Order):
            self.send(order)
            self.land(order)
        assert order is None
        return self.numbers[before:]


def away(cause_code: str = "connect_failed", retry_after: float | None = None) -> IssuerUnavailable:
    return IssuerUnavailable("no token: away", cause_code=cause_code, retry_after=retry_after)
