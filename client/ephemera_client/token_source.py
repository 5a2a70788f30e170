"""Tokens from an issuer, as many at a time as it offers: the exchanges that come to them."""

import re
import time
from collections.abc import Callable, Collection

from ephemera_client import discovery, token_request
from ephemera_client.credential import Credential
from ephemera_client.discovery import Metadata
from ephemera_client.dpop.prover import Prover
from ephemera_client.errors import (
    ConfigurationError,
    IssuerUnavailable,
    ResponseInvalid,
    TokenRequestRefused,
)
from ephemera_client.http import CaFile, Http, HttpFailed, Response
from ephemera_client.instant import Clock, Instant
from ephemera_client.token_request import Asker, IssuedToken, Wanted
from ephemera_client.url import check_url

# An issuer that moves its token endpoint is followed within this many seconds.
_METADATA_SECONDS = 3600.0

# RFC 6749 appendix A.1.
_CLIENT_ID = re.compile(r"[\x20-\x7e]+")


class TokenSource:
    """Asks one issuer for one client, from any thread.

    The issuer's metadata are discovered at the first request, and again each hour; `timeout`, in
    seconds, is for a request with its discovery. A process may fork with it.
    """

    def __init__(  # noqa: PLR0913 - a client's settings, each by its name
        self,
        issuer: str,
        *,
        client_id: str,
        credential: Credential,
        reusable: bool,
        unencrypted_hosts: Collection[str],
        ca_file: CaFile,
        timeout: float,
        clock: Clock,
        prover: Prover | None = None,
    ) -> None:
        if not isinstance(client_id, str) or not _CLIENT_ID.fullmatch(client_id):
            raise ConfigurationError("client_id must be a str of printable ASCII characters")
        if not hasattr(credential, "prove"):
            raise ConfigurationError("credential must be a credential, such as ClientSecret(...)")
        check_url(issuer, unencrypted_hosts=unencrypted_hosts, what="issuer")
        self._asker = Asker(issuer, client_id, credential.method)
        self._metadata_url = discovery.metadata_url(issuer)
        self._credential = credential
        self._reusable = reusable
        self._timeout = timeout
        self._clock = clock
        self._prover = prover
        self._learned: tuple[Metadata, Instant] | None = None
        self._http = Http(ca_file=ca_file, timeout=timeout, max_bytes=token_request.MAX_BYTES)

    def request(
        self, wanted: Wanted, number: Callable[[int], int]
    ) -> tuple[tuple[IssuedToken, ...], Instant]:
        """Return tokens, and when they were asked for.

        `number` is told the most that the issuer gives for one request, and says how many it
        shall be.

        Raises:
            TokenRequestRefused: the issuer says no; a `ClientRefused` if to the credential.
            IssuerUnavailable: there is no answer, or one that says to come back later.
            ResponseInvalid: the answer breaks the protocol.
        """
        deadline = time.monotonic() + self._timeout
        metadata = self._metadata(deadline)
        wanted = wanted._replace(number=number(metadata.max_count))
        # Read before sending, so that the token ends here no later than at its audience.
        asked = self._clock()
        answer = self._ask(metadata.token_endpoint, wanted, deadline)
        try:
            tokens = token_request.issued(
                answer,
                wanted,
                asker=self._asker,
                now=asked.wall,
                reusable=self._reusable,
                token_type="Bearer" if self._prover is None else "DPoP",
            )
        except (ResponseInvalid, TokenRequestRefused):
            # Perhaps it is an endpoint no more, or offers less than it did.
            self._learned = None
            raise
        return tokens, asked

    def _ask(self, url: str, wanted: Wanted, deadline: float) -> Response:
        answer, learned = self._ask_once(url, wanted, deadline)
        if learned and token_request.wants_nonce(answer):
            answer, _ = self._ask_once(url, wanted, deadline)
        return answer

    def _ask_once(self, url: str, wanted: Wanted, deadline: float) -> tuple[Response, bool]:
        """Return the answer, and whether it brought a nonce."""
        proof = self._credential.prove(self._asker.client_id, issuer=self._asker.issuer)
        headers = {
            "accept": "application/json",
            "content-type": "application/x-www-form-urlencoded",
            **proof.headers,
        }
        prover = self._prover
        if prover is not None:
            headers["dpop"] = prover.proof("POST", url)
        answer = self._exchange(url, headers, token_request.form(wanted, proof.form), deadline)
        learned = prover is not None and prover.learn(url, answer.headers.get("dpop-nonce"))
        return answer, learned

    def close(self) -> None:
        """Close the connections to the issuer."""
        self._http.close()

    def _metadata(self, deadline: float) -> Metadata:
        learned = self._learned
        if learned is not None and self._clock().since(learned[1]) < _METADATA_SECONDS:
            return learned[0]
        answer = self._exchange(self._metadata_url, {"accept": "application/json"}, None, deadline)
        now = self._clock()
        token_request.require_available(answer, asker=self._asker, now=now.wall)
        if answer.status != token_request.OK:
            raise ResponseInvalid(f"{self._metadata_url} answered with status {answer.status}")
        try:
            metadata = discovery.parse(answer.body, issuer=self._asker.issuer)
        except discovery.MetadataInvalid as error:
            raise ResponseInvalid(f"{self._metadata_url}: {error}") from error
        self._learned = metadata, now
        return metadata

    def _exchange(
        self, url: str, headers: dict[str, str], body: bytes | None, deadline: float
    ) -> Response:
        try:
            return self._http.exchange(url, headers, body, deadline=deadline)
        except HttpFailed as failure:
            raise IssuerUnavailable(f"no token: {failure}", cause_code=failure.code) from failure
