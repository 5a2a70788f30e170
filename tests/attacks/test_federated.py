"""Tokens of other issuers that must not speak for a client, and what each refusal says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from issuer.fixtures_asserting import KEY, NEXT_KEY, SECONDS, Tally, holding, public, sign
from issuer.fixtures_asserting import token_form as form
from issuer.fixtures_minting import ISSUER, NOW, Keeper, talking

from ephemera_client import NoReplayCache, SignatureInvalid, StaticKeys, TypeRefused, Verifier
from ephemera_issuer.authentication import Authentication, decoy
from ephemera_issuer.authentication.client_keys import ClientKeys
from ephemera_issuer.errors import RequestRefused
from ephemera_issuer.registry.entries import Client, Identity, TrustedIssuer
from ephemera_keys import public_jwk

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from ephemera_issuer.snapshot import Snapshot

pytestmark = pytest.mark.anyio

UNIFORM = "client authentication failed"
NOT_THE_CLIENT = {
    "error": "invalid_request",
    "error_description": "client_id is not the client that authenticates",
}
GITLAB, GITHUB, CLUSTER = "https://gitlab.internal", "https://github.internal", "spiffe://cluster"
SUBJECT = "project_path:acme/orders:ref_type:branch:ref:main"
HOUR = 3600
AUDIENCE = "https://billing.internal"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def deployer(*identities: Identity) -> Client:
    found = identities or (Identity(GITLAB, SUBJECT),)
    return Client("deployer", (), disabled=False, identities=found)


def trusting(*clients: Client, **gitlab: Any) -> Snapshot:
    issuers = (
        replace(TrustedIssuer(GITLAB, HOUR, reusable=False, keys=(public(KEY),)), **gitlab),
        TrustedIssuer(GITHUB, HOUR, reusable=False, keys=(public(NEXT_KEY),)),
        TrustedIssuer(CLUSTER, HOUR, reusable=True, keys=(public(KEY),)),
    )
    held = holding(*(clients or (deployer(),)))
    return replace(held, issuers={issuer.id: issuer for issuer in issuers})


def token(key: Any = KEY, *, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
    """A good token of a job at GitLab, but for what is told; None leaves a claim out."""
    return sign(
        {"alg": "ES256", "kid": "first", "typ": "JWT"} | dict(header or {}),
        {"iss": GITLAB, "sub": SUBJECT, "aud": ISSUER, "iat": SECONDS, "exp": SECONDS + 600}
        | claims,
        key,
        "ES256",
    )


async def ask(
    raw: str, *, held: Snapshot | None = None, client_id: str | None = "deployer"
) -> httpx.Response:
    named = {} if client_id is None else {"client_id": client_id}
    async with talking(Keeper(held or trusting())) as client:
        return await client.post("/oauth2/token", data=form(raw, **named))


async def assert_refused(raw: str, description: str, **parts: Any) -> None:
    answer = await ask(raw, **parts)
    assert answer.json() == {"error": "invalid_client", "error_description": description}
    assert answer.status_code == 401


async def test_the_token_that_all_these_are_variations_of_is_good() -> None:
    answer = await ask(token())
    assert answer.status_code == 200
    assert answer.json()["token_type"] == "Bearer"


async def test_a_key_of_one_trusted_issuer_signs_nothing_for_another() -> None:
    held = trusting(deployer(Identity(GITHUB, SUBJECT)))
    await assert_refused(token(iss=GITHUB), UNIFORM, held=held)
    assert (await ask(token(NEXT_KEY, iss=GITHUB), held=held)).status_code == 200


async def test_the_same_subject_at_another_issuer_is_somebody_else() -> None:
    await assert_refused(token(NEXT_KEY, iss=GITHUB), UNIFORM)


@pytest.mark.parametrize(
    "issuer", ["https://unknown.internal", f"{GITLAB}/", "", 7, [GITLAB], None]
)
async def test_an_issuer_that_is_not_trusted_speaks_for_nobody(issuer: Any) -> None:
    # So it is taken for the client's own assertion, whose client it is not.
    assert (await ask(token(iss=issuer))).json() == NOT_THE_CLIENT


@pytest.mark.parametrize(
    "audience",
    [
        None,
        "https://other.internal",
        [ISSUER, "https://other.internal"],
        [ISSUER, ISSUER],
        [[ISSUER]],
        [],
        f"{ISSUER}/",
        f"{ISSUER}/oauth2/token",
        {"aud": ISSUER},
    ],
)
async def test_the_audience_must_be_this_issuer_alone(audience: Any) -> None:
    await assert_refused(
        token(aud=audience), f"the other issuer's token: aud must be {ISSUER} alone"
    )


async def test_an_audience_in_a_list_of_one_is_good() -> None:
    assert (await ask(token(aud=[ISSUER]))).status_code == 200


async def test_an_issuer_may_have_another_audience_of_its_own() -> None:
    held = trusting(audience="sts.internal")
    assert (await ask(token(aud="sts.internal"), held=held)).status_code == 200
    wrong = "the other issuer's token: aud must be sts.internal alone"
    await assert_refused(token(), wrong, held=held)


@pytest.mark.parametrize(
    "subject",
    [
        SUBJECT + "-of-somebody-else",
        SUBJECT[:-1],
        SUBJECT.upper(),
        f" {SUBJECT}",
        f"{SUBJECT}\n",
        "deployer",
    ],
)
async def test_another_subject_is_nobody(subject: str) -> None:
    await assert_refused(token(sub=subject), UNIFORM)


@pytest.mark.parametrize("subject", [None, "", 7, [SUBJECT], "x" * 1025])
async def test_a_subject_that_is_none_is_refused(subject: Any) -> None:
    await assert_refused(token(sub=subject), "the other issuer's token: sub must be a string")


@pytest.mark.parametrize(
    ("subject", "status"),
    [
        ("repo:acme/orders:ref:main", 200),
        ("repo:acme/orders:", 401),
        ("repo:acme/orders-of-somebody-else:ref:main", 401),
        ("repo:acme/order", 401),
        ("xrepo:acme/orders:ref:main", 401),
    ],
)
async def test_a_prefix_lets_in_what_begins_with_it_and_nothing_else(
    subject: str, status: int
) -> None:
    held = trusting(deployer(Identity(GITLAB, "repo:acme/orders:", prefix=True)))
    assert (await ask(token(sub=subject), held=held)).status_code == status


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"environment": "production", "protected": True, "project_id": 1}, 200),
        ({"environment": "production", "protected": True, "project_id": 1, "more": []}, 200),
        ({"environment": "production", "protected": True}, 401),
        ({"environment": "Production", "protected": True, "project_id": 1}, 401),
        ({"environment": ["production"], "protected": True, "project_id": 1}, 401),
        ({"environment": "production", "protected": 1, "project_id": 1}, 401),
        ({"environment": "production", "protected": "true", "project_id": 1}, 401),
        ({"environment": "production", "protected": True, "project_id": True}, 401),
        ({"environment": "production", "protected": True, "project_id": 1.0}, 401),
    ],
)
async def test_every_claim_must_have_the_value_that_the_registry_says(
    claims: dict[str, Any], status: int
) -> None:
    wanted = (("environment", "production"), ("project_id", 1), ("protected", True))
    held = trusting(deployer(Identity(GITLAB, SUBJECT, claims=wanted)))
    assert (await ask(token(**claims), held=held)).status_code == status


async def test_any_one_of_several_identities_will_do() -> None:
    held = trusting(
        deployer(Identity(GITHUB, SUBJECT), Identity(GITLAB, "a"), Identity(GITLAB, SUBJECT))
    )
    assert (await ask(token(), held=held)).status_code == 200


@pytest.mark.parametrize("client_id", [None, "nobody", "orders", GITLAB])
async def test_who_is_meant_must_be_said_and_must_be_right(client_id: str | None) -> None:
    await assert_refused(token(), UNIFORM, client_id=client_id)


NUMBER = "must be a whole number of Unix seconds"


@pytest.mark.parametrize(
    ("claims", "description"),
    [
        ({"exp": None}, "exp is missing"),
        ({"exp": SECONDS + 600.0}, f"exp {NUMBER}"),
        ({"exp": True}, f"exp {NUMBER}"),
        ({"iat": str(SECONDS)}, f"iat {NUMBER}"),
        ({"iat": SECONDS - 600, "exp": SECONDS - 5}, "has expired"),
        ({"iat": SECONDS + 6}, "iat lies ahead: compare the clocks"),
        ({"nbf": SECONDS + 6}, "nbf lies ahead: compare the clocks"),
        ({"exp": SECONDS}, "must live for 3600 seconds at most"),
        ({"exp": SECONDS + HOUR + 1}, "must live for 3600 seconds at most"),
        ({"iat": None, "exp": SECONDS + HOUR + 6}, "iat lies ahead: compare the clocks"),
    ],
)
async def test_times_are_checked(claims: dict[str, Any], description: str) -> None:
    await assert_refused(token(**claims), f"the other issuer's token: {description}")


@pytest.mark.parametrize("name", ["jwk", "jku", "x5c", "x5u", "crit", "b64", "zip"])
async def test_a_header_that_brings_a_key_or_another_reading_is_refused(name: str) -> None:
    await assert_refused(
        token(header={name: "x"}), f"the other issuer's token: the header must not carry {name}"
    )


@pytest.mark.parametrize("typ", ["at+jwt", "application/at+jwt", "dpop+jwt", "", 7])
async def test_an_access_token_of_a_trusted_issuer_is_no_identity(typ: Any) -> None:
    await assert_refused(
        token(header={"typ": typ}), "the other issuer's token: typ must be JWT or absent"
    )


@pytest.mark.parametrize("typ", ["at+jwt", "JWT"])
async def test_what_we_signed_is_no_identity_whatever_the_registry_says(typ: str) -> None:
    held = trusting(deployer(Identity(ISSUER, "orders")))
    key, alg = NEXT_KEY, "ES256"
    ours = TrustedIssuer(ISSUER, HOUR, reusable=True, keys=(public(key),))
    held = replace(held, issuers=dict(held.issuers) | {ISSUER: ours})
    claims = {"iss": ISSUER, "sub": "orders", "aud": ISSUER, "iat": SECONDS, "exp": SECONDS + 60}
    raw = sign({"alg": alg, "kid": "first", "typ": typ}, claims, key, alg)
    assert (await ask(raw, held=held)).json() == NOT_THE_CLIENT


@pytest.mark.parametrize(
    ("typ", "claims", "error"),
    [
        ("JWT", {"aud": AUDIENCE}, TypeRefused),
        ("at+jwt", {"aud": AUDIENCE}, SignatureInvalid),
        ("at+jwt", {"aud": AUDIENCE, "iss": ISSUER}, SignatureInvalid),
    ],
)
async def test_a_token_of_another_issuer_is_no_access_token_of_ours(
    typ: str, claims: dict[str, Any], error: type[Exception]
) -> None:
    # Even where the other issuer has given its key the name of one of ours.
    ours = public_jwk(NEXT_KEY, alg="ES256") | {"kid": "first"}
    verifier = Verifier(
        issuer=ISSUER,
        audience=AUDIENCE,
        algorithm="ES256",
        replay_cache=NoReplayCache(),
        keys=StaticKeys({"keys": [ours]}),
        clock=lambda: NOW,
    )
    more = {"client_id": "orders", "scope": "invoices:read", "jti": "a"}
    with pytest.raises(error):
        verifier.verify(token(header={"typ": typ}, **more, **claims))
    genuine = token(NEXT_KEY, header={"typ": "at+jwt"}, **more, aud=AUDIENCE, iss=ISSUER)
    assert verifier.verify(genuine).client_id == "orders"


async def test_a_client_without_identities_is_spoken_for_by_nobody() -> None:
    held = trusting(replace(deployer(), identities=(), keys=(public(KEY),)))
    await assert_refused(token(), UNIFORM, held=held)


async def test_a_disabled_client_gets_nothing() -> None:
    answer = await ask(token(), held=trusting(replace(deployer(), disabled=True)))
    assert answer.json()["error"] == "unauthorized_client"


async def test_a_token_is_accepted_once_unless_its_issuer_reuses_them() -> None:
    for reusable, second in ((False, 401), (True, 200)):
        raw = token()
        async with talking(Keeper(trusting(reusable=reusable))) as client:
            data = form(raw, client_id="deployer")
            assert (await client.post("/oauth2/token", data=data)).status_code == 200
            again = await client.post("/oauth2/token", data=data)
        assert again.status_code == second


@pytest.mark.parametrize("jti", [None, "the same"])
async def test_it_is_the_token_that_is_spent_and_not_its_jti(jti: str | None) -> None:
    async with talking(Keeper(trusting())) as client:
        for number in range(2):
            data = form(token(jti=jti, number=number), client_id="deployer")
            assert (await client.post("/oauth2/token", data=data)).status_code == 200


async def test_a_svid_without_iss_is_of_its_trust_domain() -> None:
    workload = f"{CLUSTER}/ns/shop/sa/orders"
    held = trusting(deployer(Identity(CLUSTER, workload)))
    assert (await ask(token(iss=None, sub=workload, jti=None), held=held)).status_code == 200
    for other in ("spiffe://cluster.evil/ns/shop/sa/orders", "spiffe://clusterx", "spiffe:///x"):
        assert (await ask(token(iss=None, sub=other), held=held)).json() == NOT_THE_CLIENT


@pytest.mark.parametrize("way", ["known client", "unknown client", "unknown kid", "wrong key"])
async def test_every_failure_costs_one_verification(way: str) -> None:
    tally = Tally()
    held = trusting(
        deployer(Identity(GITLAB, "somebody else")), keys=tuple(tally.counted(public(KEY)))
    )
    by = Authentication(
        issuer=ISSUER,
        keys=ClientKeys(hosts=(), clock=lambda: NOW),
        issuer_keys=ClientKeys(hosts=(), clock=lambda: NOW, whose="issuer"),
        decoys={alg: tally.counting(key) for alg, key in decoy.KEYS.items()},
    )
    raw = token(
        NEXT_KEY if way == "wrong key" else KEY,
        header={"kid": "unknown"} if way == "unknown kid" else {},
    )
    named = "nobody" if way == "unknown client" else "deployer"
    with pytest.raises(RequestRefused) as caught:
        await by.identify(
            held.clients,
            issuers=held.issuers,
            authorization=[],
            parameters=form(raw, client_id=named),
            now=NOW,
        )
    assert caught.value.description == UNIFORM
    assert tally.verified == 1
