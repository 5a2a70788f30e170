from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from issuer.fixtures_registry import BILLING, WHOLE, WITH_KEYS, registry, write_keys

from ephemera_issuer.errors import RegistryInvalid
from ephemera_issuer.registry.diff import Difference, difference
from ephemera_issuer.registry.entries import Audience, Client, Grant, Registry
from ephemera_issuer.registry.file import read_files
from ephemera_issuer.registry.jwks_file import read_keys

if TYPE_CHECKING:
    from pathlib import Path

AUDIENCE = Audience(
    BILLING,
    frozenset({"invoices:read", "invoices:write"}),
    max_lifetime=300,
    single_use=True,
    disabled=False,
)
CLIENT = Client("orders", (b"digest",), disabled=False)
GRANT = Grant("orders", BILLING, frozenset({"invoices:read"}), 900)
SAME = registry(AUDIENCE, CLIENT, GRANT)
STOCK = Client("stock", (b"other",), disabled=False)
STOCKS_GRANT = Grant("stock", BILLING, frozenset({"invoices:write"}), 900)


def compare(directory: Path, text: str, held: Registry, *, prune: bool = False) -> Difference:
    file = directory / "registry.toml"
    file.write_text(text)
    return difference(read_files(file), held, prune=prune)


def test_what_is_there_already_is_no_difference(tmp_path: Path) -> None:
    assert compare(tmp_path, WHOLE, SAME, prune=True) == ((), ())


def test_all_of_a_new_registry_is_added_and_its_clients_need_secrets(tmp_path: Path) -> None:
    changes, without_secret = compare(tmp_path, WHOLE, registry())
    assert [(change.action, type(change.entry)) for change in changes] == [
        ("add", Audience),
        ("add", Client),
        ("add", Grant),
    ]
    assert without_secret == ("orders",)


def test_a_changed_entry_says_what_it_was(tmp_path: Path) -> None:
    changes, _ = compare(tmp_path, WHOLE.replace('"5m"', '"2m"'), SAME)
    ((action, entry, before),) = changes
    assert action == "change"
    assert before == AUDIENCE
    assert isinstance(entry, Audience)
    assert entry.max_lifetime == 120


def test_what_is_not_declared_stays_unless_it_is_pruned(tmp_path: Path) -> None:
    held = registry(AUDIENCE, CLIENT, STOCK, GRANT, STOCKS_GRANT)
    assert compare(tmp_path, WHOLE, held).changes == ()
    assert compare(tmp_path, WHOLE, held, prune=True).changes == (
        ("remove", STOCK, None),
        ("remove", STOCKS_GRANT, None),
    )


def test_a_client_stays_disabled_until_a_file_says_otherwise(tmp_path: Path) -> None:
    held = registry(AUDIENCE, Client("orders", (b"digest",), disabled=True), GRANT)
    assert compare(tmp_path, WHOLE, held).changes == ()
    said = WHOLE.replace('secret = "generate"', 'secret = "generate"\ndisabled = false')
    assert compare(tmp_path, said, held).changes == (("change", CLIENT, held.clients["orders"]),)


def test_a_client_moves_from_a_secret_to_a_key_with_both_in_between(tmp_path: Path) -> None:
    keys = read_keys(write_keys(tmp_path / "orders.jwks.json", "k1"))
    with_both = replace(CLIENT, keys=keys)
    both = WITH_KEYS.replace("jwks_file", 'secret = "generate"\njwks_file')
    assert compare(tmp_path, both, SAME).changes == (("change", with_both, CLIENT),)
    held = registry(AUDIENCE, with_both, GRANT)
    assert compare(tmp_path, WITH_KEYS, held).changes == (
        ("change", replace(CLIENT, secret_hashes=(), keys=keys), with_both),
    )


def test_a_client_with_a_key_only_is_given_a_secret_where_one_is_declared(tmp_path: Path) -> None:
    keys = read_keys(write_keys(tmp_path / "orders.jwks.json", "k1"))
    held = registry(AUDIENCE, Client("orders", (), disabled=False, keys=keys), GRANT)
    both = WITH_KEYS.replace("jwks_file", 'secret = "generate"\njwks_file')
    changes, without_secret = compare(tmp_path, both, held)
    assert [change.action for change in changes] == ["change"]
    assert without_secret == ("orders",)


def test_a_key_beside_two_secrets_is_one_credential_too_many(tmp_path: Path) -> None:
    write_keys(tmp_path / "orders.jwks.json", "k1")
    held = registry(AUDIENCE, replace(CLIENT, secret_hashes=(b"old", b"new")), GRANT)
    both = WITH_KEYS.replace("jwks_file", 'secret = "generate"\njwks_file')
    with pytest.raises(RegistryInvalid, match="would have 3 live credentials"):
        compare(tmp_path, both, held)
    assert compare(tmp_path, WHOLE, held).changes == ()


def test_who_may_introspect_is_compared(tmp_path: Path) -> None:
    text = WHOLE.replace('max_lifetime = "5m"', 'max_lifetime = "5m"\nintrospected_by = ["orders"]')
    ((action, entry, before),) = compare(tmp_path, text, SAME).changes
    assert (action, before) == ("change", AUDIENCE)
    assert entry == replace(AUDIENCE, introspected_by=frozenset({"orders"}))


def test_a_client_that_may_introspect_is_not_pruned(tmp_path: Path) -> None:
    text = WHOLE.replace('max_lifetime = "5m"', 'max_lifetime = "5m"\nintrospected_by = ["stock"]')
    held = registry(AUDIENCE, CLIENT, STOCK, GRANT)
    assert len(compare(tmp_path, text, held).changes) == 1
    with pytest.raises(RegistryInvalid, match=r"introspected_by: there is no client stock"):
        compare(tmp_path, text, held, prune=True)


def test_an_audience_stays_disabled_until_a_file_says_otherwise(tmp_path: Path) -> None:
    disabled = replace(AUDIENCE, disabled=True)
    held = registry(disabled, CLIENT, GRANT)
    assert compare(tmp_path, WHOLE, held).changes == ()
    said = WHOLE.replace('max_lifetime = "5m"', 'max_lifetime = "5m"\ndisabled = false')
    assert compare(tmp_path, said, held).changes == (("change", AUDIENCE, disabled),)


def test_a_grant_may_name_what_only_the_registry_has(tmp_path: Path) -> None:
    text = f'[[grants]]\nclient = "orders"\naudience = "{BILLING}"\nscopes = ["invoices:write"]'
    ((action, entry, _),) = compare(tmp_path, text, SAME).changes
    assert action == "change"
    assert isinstance(entry, Grant)
    assert entry.scopes == {"invoices:write"}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('client = "orders"', 'client = "order"', "11: grants[0].client: there is no client order"),
        (
            'audience = "https://billing.internal"',
            'audience = "urn:x"',
            "12: grants[0].audience: there is no audience urn:x",
        ),
        (
            'scopes = ["invoices:read"]',
            'scopes = ["invoices:read", "x", "a"]',
            "13: grants[0].scopes: https://billing.internal has no scope a, x",
        ),
    ],
)
def test_a_grant_that_names_the_unknown_is_refused(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    with pytest.raises(RegistryInvalid) as caught:
        compare(tmp_path, WHOLE.replace(old, new), registry())
    assert str(caught.value) == f"{tmp_path}/registry.toml:{problem}"


def test_a_scope_that_is_still_granted_cannot_be_taken_from_its_audience(tmp_path: Path) -> None:
    held = registry(AUDIENCE, CLIENT, STOCK, GRANT, STOCKS_GRANT)
    with pytest.raises(RegistryInvalid) as caught:
        compare(tmp_path, WHOLE.replace(', "invoices:write"', ""), held)
    assert str(caught.value) == (
        f"{tmp_path}/registry.toml:3: audiences[0].scopes: "
        "lacks invoices:write, which is granted to stock"
    )


def test_pruning_a_client_that_a_file_still_grants_to_is_refused(tmp_path: Path) -> None:
    text = WHOLE.replace('[[clients]]\nid = "orders"\nsecret = "generate"\n', "")
    with pytest.raises(RegistryInvalid, match="there is no client orders"):
        compare(tmp_path, text, SAME, prune=True)
