"""`POST /oauth2/token`: the path that everything else is there for, so it is bare ASGI."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from ephemera_issuer import form
from ephemera_issuer.attempt import Attempt
from ephemera_issuer.authentication import unauthenticated
from ephemera_issuer.edge.errors import failure, http_refusal, refusal, unavailable
from ephemera_issuer.edge.posted import credentials, read
from ephemera_issuer.errors import RequestRefused
from ephemera_issuer.limits import Limits
from ephemera_issuer.mint import mint_several
from ephemera_issuer.policy import decide, require_settled
from ephemera_issuer.turn import Turns

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import Receive, Scope, Send

    from ephemera_client.instant import Clock
    from ephemera_issuer.attempt import Observer
    from ephemera_issuer.audit.auditor import Auditor
    from ephemera_issuer.authentication import Authentication
    from ephemera_issuer.edge import Current
    from ephemera_issuer.policy import Decision
    from ephemera_issuer.possession import Proofs
    from ephemera_issuer.registry.entries import Client
    from ephemera_issuer.snapshot import Snapshot
    from ephemera_issuer.spent import SpentAssertions


class TokenEndpoint:
    """The client_credentials grant (RFC 6749 §4.4), as an ASGI application."""

    __slots__ = (
        *("_auditor", "_authentication", "_clock", "_issuer", "_limits", "_observers"),
        *("_proofs", "_snapshots", "_spent", "_turns"),
    )

    def __init__(  # noqa: PLR0913 - the parts of the walk
        self,
        snapshots: Current,
        *,
        issuer: str,
        authentication: Authentication,
        spent: SpentAssertions,
        proofs: Proofs,
        clock: Clock,
        observers: Collection[Observer] = (),
        auditor: Auditor | None = None,
        limits: Limits | None = None,
        turns: Turns | None = None,
    ) -> None:
        self._snapshots = snapshots
        self._issuer = issuer
        self._authentication = authentication
        self._spent = spent
        self._proofs = proofs
        self._clock = clock
        self._observers = tuple(observers)
        self._auditor = auditor
        self._limits = limits or Limits()
        self._turns = turns or Turns()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; a caller that goes away before its form is complete gets none.

        An error of our own is answered too, and raised for the server to log.
        """
        attempt = Attempt(self._clock(), scope)
        try:
            if self._auditor is not None and self._auditor.behind:
                await self._auditor.room()
            self._limits.admit(attempt.address, attempt.began.monotonic)
            authorization, proofs = credentials(scope["headers"])
            body = await read(receive)
            if body is None:
                return
            answer = await self._answer(attempt, authorization, proofs, body)
        except RequestRefused as error:
            self._tell(attempt, error)
            await self._limits.hold(error)
            await refusal(error)(scope, receive, send)
            return
        except HTTPException as error:
            self._tell(attempt, RequestRefused("invalid_request", error.detail))
            await http_refusal(error)(scope, receive, send)
            return
        except Exception:
            self._tell(attempt, RequestRefused("server_error", "the issuer failed"))
            await failure()(scope, receive, send)
            raise
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(answer)),
            (b"cache-control", b"no-store"),
            (b"pragma", b"no-cache"),
        ]
        if proofs and (nonce := self._proofs.nonce(self._clock())):
            headers.append((b"dpop-nonce", nonce.encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _answer(
        self, attempt: Attempt, authorization: list[bytes], proofs: list[bytes], body: bytes
    ) -> bytes:
        now = self._clock()
        snapshot = self._snapshots.current
        if snapshot is None or not snapshot.fresh(now):
            raise unavailable()
        parameters = form.parameters(body, form.TOKEN_REQUEST)
        request = form.parse(parameters)
        try:
            caller = await self._authentication.identify(
                snapshot.clients,
                issuers=snapshot.issuers,
                authorization=authorization,
                parameters=parameters,
                now=now,
            )
        except RequestRefused as error:
            self._limits.note(error, attempt.address, now.monotonic)
            raise
        snapshot, client = self._as_they_are_now(snapshot, caller.client)
        attempt.client_id = client.id
        if request.audience in snapshot.audiences:
            attempt.audience = request.audience
        self._limits.spend(client.id, request.number, now.monotonic)
        decision = decide(snapshot, client, request)
        require_settled(snapshot.revocations, decision, now.wall)
        possession = None
        if proofs or decision.dpop_required:
            # First the proof: where it is refused, no assertion is spent.
            possession = self._proofs.check(proofs, now=now)
            await self._spent.claim_proof(possession.claim, now, nonce=self._proofs.nonce(now))
        if caller.assertion is not None:
            await self._spent.claim(caller.assertion, now)
        minted = await self._turns.do(
            partial(
                mint_several,
                decision,
                issuer=self._issuer,
                signer=snapshot.signer,
                now=now.wall,
                number=request.number,
                thumbprint=possession and possession.thumbprint,
            )
        )
        if self._auditor is not None:
            await self._auditor.minted(attempt, decision, minted)
        for observer in self._observers:
            observer.minted(attempt, decision, minted.tokens)
        return _granted(decision, minted.tokens, "DPoP" if possession else "Bearer")

    def _as_they_are_now(self, snapshot: Snapshot, client: Client) -> tuple[Snapshot, Client]:
        latest = self._snapshots.current
        if latest is None or latest is snapshot:
            return snapshot, client
        # Its keys had to be fetched, which can take seconds; policy is what it is now, and so is
        # what a client proves itself with.
        found = latest.clients.get(client.id)
        if (
            found is None
            or replace(found, disabled=client.disabled) != client
            or latest.issuers != snapshot.issuers
        ):
            raise unauthenticated()
        return latest, found

    def _tell(self, attempt: Attempt, error: RequestRefused) -> None:
        attempt.reason = error.reason
        if self._auditor is not None:
            self._auditor.refused(attempt, error)
        for observer in self._observers:
            observer.refused(attempt, error)


def _granted(decision: Decision, tokens: list[str], token_type: str) -> bytes:
    first, additional = tokens[0], ""
    single_use = "true" if decision.single_use else "false"
    if len(tokens) > 1:
        listed = '","'.join(tokens[1:])
        additional = f',"additional_tokens":["{listed}"]'
    return (
        f'{{"access_token":"{first}","token_type":"{token_type}",'
        f'"expires_in":{decision.lifetime},'
        f'"scope":{quote(decision.scope)},"single_use":{single_use}{additional}}}'
    ).encode()
