from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from issuer.fixtures_registry import BILLING, WHOLE

from ephemera_issuer import policy

if TYPE_CHECKING:
    from pathlib import Path

    from issuer.fixtures_commands import Run

ASK = ("explain", "--client", "orders", "--audience")


def explained(run: Run, *arguments: str, status: int = 0) -> Any:
    return run.json(*ASK, *arguments, status=status)


def test_what_is_granted_is_told_with_what_set_the_lifetime(applied: Run) -> None:
    assert explained(applied, BILLING) == {
        "client": "orders",
        "audience": BILLING,
        "granted": True,
        "scopes": ["invoices:read"],
        "lifetime": 120,
        "single_use": True,
        "dpop": "optional",
        "rule": "default_lifetime",
        "because": "the grant orders -> https://billing.internal allows invoices:read; "
        "the lifetime is the default, since none was asked for",
        "registry_version": 1,
    }


def test_what_is_refused_is_told_with_the_rule_and_what_the_client_is_answered(
    applied: Run,
) -> None:
    wanted = ("--scope", "invoices:read", "--scope", "invoices:write")
    assert explained(applied, BILLING, *wanted, status=3) == {
        "client": "orders",
        "audience": BILLING,
        "granted": False,
        "error": "invalid_scope",
        "error_description": "granted for https://billing.internal: invoices:read",
        "rule": "scope_not_granted",
        "because": "the grant orders -> https://billing.internal lacks invoices:write",
        "registry_version": 1,
    }


@pytest.mark.parametrize(
    ("audiences", "grants", "rule", "because"),
    [
        (90, 90, "asked_lifetime", "is what was asked for"),
        (90, 30, "grant_lifetime", "is the grant's max_lifetime"),
        (30, 90, "audience_lifetime", "is the audience's max_lifetime"),
    ],
)
def test_each_limit_of_a_lifetime_is_named(
    run: Run, directory: Path, *, audiences: int, grants: int, rule: str, because: str
) -> None:
    text = WHOLE.replace('"5m"', str(audiences)) + f"max_lifetime = {grants}"
    (directory / "registry.toml").write_text(text)
    run("apply", "registry.toml", "--secrets-dir", "secrets")
    document = explained(run, BILLING, "--lifetime", "60")
    assert document["rule"] == rule
    assert document["because"].endswith(f"the lifetime {because}")


def test_an_unknown_audience_is_told_one_that_is_near(applied: Run) -> None:
    document = explained(applied, BILLING + "/", status=3)
    assert document["error"] == "invalid_target"
    assert document["rule"] == "no_grant"
    assert document["because"] == f"there is no audience {BILLING}/; did you mean {BILLING}?"
    assert explained(applied, "urn:x", status=3)["because"] == "there is no audience urn:x"


def test_an_audience_without_a_grant_is_told_apart_from_an_unknown_one(
    applied: Run, directory: Path
) -> None:
    ledger = '[[audiences]]\nid = "urn:ledger"\nscopes = ["read"]\n'
    (directory / "registry.toml").write_text(WHOLE + ledger)
    applied("apply", "registry.toml")
    assert explained(applied, "urn:ledger", status=3)["because"] == (
        "what is not granted is refused, and there is no grant orders -> urn:ledger"
    )


def test_what_is_disabled_is_told(applied: Run, directory: Path) -> None:
    disabled = WHOLE.replace("single_use = true", "").replace('"5m"', '"5m"\ndisabled = true')
    (directory / "registry.toml").write_text(disabled)
    applied("apply", "registry.toml")
    document = explained(applied, BILLING, status=3)
    assert (document["error"], document["rule"]) == ("invalid_target", "audience_disabled")
    assert document["because"] == f"the audience {BILLING} is disabled by its registry file"
    applied("clients", "disable", "orders")
    document = explained(applied, BILLING, status=3)
    assert (document["error"], document["rule"]) == ("unauthorized_client", "client_disabled")
    assert document["because"] == "orders is disabled; `ephemera clients enable orders` ends that"


def test_a_malformed_request_is_told(applied: Run) -> None:
    document = explained(applied, BILLING, "--lifetime", "5", status=3)
    assert (document["error"], document["rule"]) == ("invalid_request", "request_malformed")
    assert document["error_description"] == "lifetime must be at least 10 seconds"


def test_people_read_it_in_lines(applied: Run) -> None:
    because = (
        "the grant orders -> https://billing.internal allows invoices:read; "
        "the lifetime is the default, since none was asked for"
    )
    assert applied(*ASK, BILLING)[0].splitlines() == [
        "orders gets a token for https://billing.internal",
        "  scopes      invoices:read",
        "  lifetime    120 s",
        "  single use  yes",
        "  dpop        optional",
        f"  because     {because}",
        "  rule        default_lifetime",
    ]
    assert applied(*ASK, "urn:x", status=3)[0].splitlines() == [
        "orders gets no token for urn:x",
        "  answer      invalid_target: this client has no grant for that audience",
        "  because     there is no audience urn:x",
        "  rule        no_grant",
    ]


def test_an_unknown_client_is_an_error(applied: Run) -> None:
    _, err = applied("explain", "--client", "order", "--audience", BILLING, status=1)
    assert err == "ephemera: there is no client order; did you mean orders?\n"


@pytest.mark.parametrize("asking", ["admin.explanation", "edge.token"])
def test_it_asks_the_function_that_decides_what_is_minted(asking: str) -> None:
    assert import_module(f"ephemera_issuer.{asking}").decide is policy.decide


def test_what_no_registry_can_name_is_wrong_usage(applied: Run) -> None:
    # What a shell passes on for the byte FF.
    _, told = applied(*ASK, "\udcff", status=2)
    assert "printable" in told
