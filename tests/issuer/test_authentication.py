from __future__ import annotations

import base64
import hmac
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from issuer.fixtures_asserting import (
    KEY,
    KEYS,
    NEXT_KEY,
    OTHER,
    OTHER_KEY,
    SECONDS,
    Tally,
    assertion,
    holding,
    proof,
    public,
    reports,
)
from issuer.fixtures_minting import (
    BILLING,
    ISSUER,
    NOW,
    OLD_SECRET,
    SECRET,
    Keeper,
    basic,
    digest,
)

from ephemera_client import Claim, SingleProcessReplayCache
from ephemera_client.jwk import ENGINES
from ephemera_issuer.authentication import Authentication, Caller, decoy, secret
from ephemera_issuer.authentication.assertion import parse as parse_assertion
from ephemera_issuer.authentication.client_keys import ClientKeys
from ephemera_issuer.edge.token import TokenEndpoint
from ephemera_issuer.errors import RequestRefused
from ephemera_issuer.possession import Proofs
from ephemera_issuer.registry.entries import Client
from ephemera_issuer.spent import SpentAssertions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ephemera_keys import Algorithm

pytestmark = pytest.mark.anyio

TOKEN_FORM = {"grant_type": "client_credentials", "resource": BILLING}
CLIENTS = holding(reports(), OTHER).clients
KEYS_OF_CLIENTS = ClientKeys(hosts=(), clock=lambda: NOW)
KEYS_OF_ISSUERS = ClientKeys(hosts=(), clock=lambda: NOW, whose="issuer")
AUTHENTICATION = Authentication(issuer=ISSUER, keys=KEYS_OF_CLIENTS, issuer_keys=KEYS_OF_ISSUERS)


async def identified(
    *authorization: str,
    clients: Mapping[str, Client] = CLIENTS,
    by: Authentication = AUTHENTICATION,
    **parameters: str,
) -> Caller:
    return await by.identify(
        clients,
        issuers={},
        authorization=[value.encode("latin-1") for value in authorization],
        parameters=parameters,
        now=NOW,
    )


async def refused(*authorization: str, **parameters: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        await identified(*authorization, **parameters)
    return caught.value


def encoded(pair: bytes | str) -> str:
    return base64.b64encode(pair.encode() if isinstance(pair, str) else pair).decode()


async def test_a_client_proves_itself_with_its_secret() -> None:
    assert (await identified(basic())).client.id == "orders"


async def test_both_of_two_live_secrets_are_good() -> None:
    assert (await identified(basic(secret=OLD_SECRET))).client.id == "orders"


async def test_the_form_may_name_the_client_that_authenticates() -> None:
    assert (await identified(basic(), client_id="orders")).client.id == "orders"


@pytest.mark.parametrize("scheme", ["basic", "BASIC", "bAsIc"])
async def test_the_scheme_is_case_insensitive(scheme: str) -> None:
    assert (await identified(basic().replace("Basic", scheme))).client.id == "orders"


async def test_id_and_secret_are_form_encoded() -> None:
    name = "caf\u00e9: %1+"
    assert (await identified(basic(name))).client.id == name
    # As it stands, its first colon would end the id.
    assert (await refused("Basic " + encoded(f"{name}:{SECRET}"))).error == "invalid_client"


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic ",
        "Basic  ",
        "Basic !",
        "Basic " + encoded("orders"),
        "Basic " + encoded(""),
        "Basic " + encoded(":"),
        "Basic " + encoded("orders:"),
        "Basic " + encoded(f":{SECRET}"),
        "Basic " + encoded(f"orders:{SECRET}").rstrip("="),
        "Basic " + encoded(f"orders:{SECRET}") + "=",
        "Basic " + encoded(f"orders:{SECRET}") + "AAAA",
        "Basic\t" + encoded(f"orders:{SECRET}"),
        "Basic " + encoded(f"orders:{SECRET}%"),
        "Basic " + encoded(f"orders%ff:{SECRET}"),
        "Basic " + encoded(b"orders\xff:secret"),
        f"Basic orders:{SECRET}",
        "Bearer " + encoded(f"orders:{SECRET}"),
        "Digest username=orders",
        encoded(f"orders:{SECRET}"),
        "\xff\xfe",
        basic(secret="wrong"),
        basic("nobody"),
        basic("gone", "wrong"),
        basic("without credential", ""),
        basic("Orders"),
        basic("orders "),
    ],
)
async def test_whatever_is_wrong_with_a_credential_the_refusal_is_the_same(
    authorization: str,
) -> None:
    error = await refused(authorization)
    assert (error.error, error.description) == ("invalid_client", "client authentication failed")
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


async def test_no_credential_at_all_is_refused_the_same_way() -> None:
    error = await refused(client_id="orders")
    assert (error.error, error.description) == ("invalid_client", "client authentication failed")


async def test_a_credential_in_the_form_is_not_a_method_of_this_issuer() -> None:
    assert (await refused(client_id="orders", client_secret="x")).error == "invalid_client"


async def test_a_disabled_client_is_told_so_once_it_has_proved_its_secret() -> None:
    assert (await refused(basic("gone"))).error == "unauthorized_client"


async def test_two_authentication_methods_are_refused() -> None:
    assert (await refused(basic(), client_secret="x")).error == "invalid_request"


async def test_two_authorization_headers_are_refused() -> None:
    assert (await refused(basic(), basic())).error == "invalid_request"


async def test_a_client_id_in_the_form_that_is_another_one_is_refused() -> None:
    error = await refused(basic(), client_id="gone")
    assert error.error == "invalid_request"
    assert "gone" not in error.description


@pytest.mark.parametrize(
    "authorization",
    [basic(), basic(secret="wrong"), basic("nobody"), basic("gone"), basic("without credential")],
)
def test_an_unknown_client_costs_the_same_comparisons_as_a_known_one(
    authorization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []

    def compare(first: bytes, second: bytes) -> bool:
        compared.append((len(first), len(second)))
        return hmac.compare_digest(first, second)

    monkeypatch.setattr(secret, "compare_digest", compare)
    secret.proves(
        credential := secret.parse(authorization.encode()), CLIENTS.get(credential.client_id)
    )
    assert compared == [(32, 32), (32, 32)]


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256"])
async def test_a_client_proves_itself_with_its_key(alg: Algorithm) -> None:
    clients = holding(reports(public(KEYS[alg], alg=alg))).clients
    caller = await identified(**proof(assertion(KEYS[alg], alg=alg, jti="1")), clients=clients)
    assert caller.client.id == "reports"
    spent = Claim("assertion", "reports", "reports", "1", SECONDS, SECONDS + 60)
    assert caller.assertion == spent


async def test_a_caller_with_a_secret_has_no_assertion_to_be_spent() -> None:
    assert (await identified(basic())).assertion is None


async def test_both_of_two_live_keys_are_good() -> None:
    clients = holding(reports(public(KEY), public(NEXT_KEY, kid="second"))).clients
    for key, kid in ((KEY, "first"), (NEXT_KEY, "second")):
        raw = assertion(key, header={"kid": kid})
        assert (await identified(**proof(raw), clients=clients)).client.id == "reports"


async def test_without_a_kid_it_is_the_one_key_that_fits() -> None:
    raw = assertion(header={"kid": None})
    assert (await identified(**proof(raw))).client.id == "reports"
    another = public(KEYS["EdDSA"], alg="EdDSA", kid="second")
    clients = holding(reports(public(KEY), another)).clients
    assert (await identified(**proof(raw), clients=clients)).client.id == "reports"
    clients = holding(reports(public(KEY), public(NEXT_KEY, kid="second"))).clients
    assert (await refused(**proof(raw), clients=clients)).error == "invalid_client"


async def test_a_client_may_have_a_secret_and_a_key() -> None:
    both = holding(reports(secret_hashes=(digest(SECRET),))).clients
    assert (await identified(basic("reports"), clients=both)).assertion is None
    assert (await identified(**proof(assertion()), clients=both)).assertion is not None


def failing() -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """Headers and form of callers that prove nothing, each in another way."""
    return {
        "wrong secret": ({"Authorization": basic("other", "wrong")}, {}),
        "unknown client with a secret": ({"Authorization": basic("nobody")}, {}),
        "secret for a client without one": ({"Authorization": basic("reports")}, {}),
        "wrong key": ({}, proof(assertion(NEXT_KEY))),
        "another client's key": ({}, proof(assertion(OTHER_KEY))),
        "key of an unknown name": ({}, proof(assertion(NEXT_KEY, header={"kid": "unknown"}))),
        "key of another algorithm": ({}, proof(assertion(KEYS["RS256"], alg="RS256"))),
        "no kid": ({}, proof(assertion(NEXT_KEY, header={"kid": None}))),
        "unknown client": ({}, proof(assertion(iss="nobody", sub="nobody"))),
        "client without a key": ({}, proof(assertion(iss="orders", sub="orders"))),
        "disabled client": ({}, proof(assertion(iss="gone", sub="gone"))),
        "wrong claims, too": ({}, proof(assertion(NEXT_KEY, aud="https://x.test", exp=None))),
        "key of a host that is not asked": ({}, proof(assertion(iss="remote", sub="remote"))),
    }


@pytest.mark.parametrize("way", failing())
async def test_unknown_client_wrong_secret_and_wrong_key_cost_and_read_the_same(way: str) -> None:
    tally = Tally()
    remote = Client("remote", (), disabled=False, jwks_uri="https://remote.internal/jwks.json")
    held = holding(
        reports(*tally.counted(public(KEY))),
        replace(OTHER, keys=tuple(tally.counted(*OTHER.keys))),
        remote,
    )
    endpoint = TokenEndpoint(
        Keeper(held),
        issuer=ISSUER,
        authentication=Authentication(
            issuer=ISSUER,
            keys=KEYS_OF_CLIENTS,
            issuer_keys=KEYS_OF_ISSUERS,
            decoys={alg: tally.counting(key) for alg, key in decoy.KEYS.items()},
        ),
        spent=SpentAssertions(SingleProcessReplayCache(clock=lambda: NOW)),
        proofs=Proofs(issuer=ISSUER, url=f"{ISSUER}/oauth2/token", nonces=None),
        clock=lambda: NOW,
    )
    headers, form = failing()[way]
    transport = httpx.ASGITransport(endpoint)
    async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as http:
        answer = await http.post("/", headers=headers, data=TOKEN_FORM | form)
    assert answer.status_code == 401
    assert answer.content == (
        b'{"error":"invalid_client","error_description":"client authentication failed"}'
    )
    assert dict(answer.headers) == {
        "content-type": "application/json",
        "content-length": str(len(answer.content)),
        "cache-control": "no-store",
        "pragma": "no-cache",
        "www-authenticate": 'Basic realm="ephemera", charset="UTF-8"',
    }
    assert tally.verified == 1


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256"])
def test_a_decoy_takes_a_whole_verification_and_believes_nothing(alg: Algorithm) -> None:
    signature = ENGINES[alg].sign(b"anything", KEYS[alg])
    assert decoy.KEYS[alg].alg == alg
    assert not decoy.KEYS[alg].verify(b"anything", signature)


async def test_what_a_decoy_signed_is_not_believed_either() -> None:
    decoys = {"ES256": public(NEXT_KEY).key}
    by = Authentication(
        issuer=ISSUER, keys=KEYS_OF_CLIENTS, issuer_keys=KEYS_OF_ISSUERS, decoys=decoys
    )
    raw = assertion(NEXT_KEY, iss="nobody", sub="nobody")
    assert (await refused(**proof(raw), by=by)).error == "invalid_client"


def test_an_assertion_shows_nothing_of_itself() -> None:
    raw = assertion(jti="unmistakable")
    presented = parse_assertion(proof(raw))
    for text in (repr(presented), str(presented), f"{presented}"):
        assert "unmistakable" not in text
        assert raw.rpartition(".")[2] not in text


def test_a_credential_shows_nothing_of_itself() -> None:
    credential = secret.parse(basic().encode())
    for text in (repr(credential), str(credential), f"{credential}"):
        assert SECRET not in text
        assert repr(digest(SECRET)) not in text
