from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from issuer.fixtures_registry import BILLING, WHOLE, WITH_KEYS, write_keys

from ephemera_issuer.errors import RegistryInvalid
from ephemera_issuer.registry.file import read_files

if TYPE_CHECKING:
    from pathlib import Path

    from ephemera_issuer.registry.declarations import Declarations


def read(directory: Path, text: str | bytes) -> Declarations:
    file = directory / "registry.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_files(file)


def problems(directory: Path, text: str | bytes) -> list[tuple[int | None, str, str]]:
    with pytest.raises(RegistryInvalid) as caught:
        read(directory, text)
    assert all(problem.file.endswith("registry.toml") for problem in caught.value.problems)
    return [(problem.line, problem.field, problem.message) for problem in caught.value.problems]


def test_a_file_declares_audiences_clients_and_grants(tmp_path: Path) -> None:
    declared = read(tmp_path, WHOLE)
    audience = declared.audiences[BILLING]
    assert audience.scopes == {"invoices:read", "invoices:write"}
    assert audience.max_lifetime == 300
    assert audience.single_use
    assert audience.introspected_by == frozenset()
    assert not audience.dpop_required
    assert audience.disabled is None
    client = declared.clients["orders"]
    assert (client.secret, client.keys, client.jwks_uri) == (True, (), None)
    grant = declared.grants["orders", BILLING]
    assert grant.scopes == {"invoices:read"}
    assert grant.max_lifetime == 900


def test_every_key_can_be_given(tmp_path: Path) -> None:
    declared = read(
        tmp_path,
        """
        clients = [
            {id = "A.b_c-9", secret = "generate", disabled = false},
            {id = "gateway", jwks_uri = "https://gateway.internal:8443/jwks.json?v=1"}
        ]
        [[audiences]]
        id = "urn:example:ledger"
        scopes = ["x"]
        single_use = false
        introspected_by = ["A.b_c-9", "gateway"]
        dpop = "required"
        disabled = true
        [[grants]]
        client = "A.b_c-9"
        audience = "urn:example:ledger"
        scopes = ["x"]
        max_lifetime = 90
        """,
    )
    audience = declared.audiences["urn:example:ledger"]
    assert not audience.single_use
    assert audience.disabled is True
    assert audience.introspected_by == {"A.b_c-9", "gateway"}
    assert audience.dpop_required
    assert declared.clients["A.b_c-9"].disabled is False
    assert declared.clients["gateway"].jwks_uri == "https://gateway.internal:8443/jwks.json?v=1"
    assert declared.grants["A.b_c-9", "urn:example:ledger"].max_lifetime == 90


def test_every_problem_of_a_file_is_told_with_line_and_field(tmp_path: Path) -> None:
    text = """\
# [[clients]] in a comment is none
[[audiences]]
id = "https://billing.internal/"
scopes = [
    "invoices read",  # ]
]
max_lifetime = "1h"
colour = "red"

[[clients]]
id = '''
[[clients]]
id = "x"'''
secret = "hunter2"

[[clients]]
secert = "generate"

[[grant]]
client = "orders"
"""
    assert [(line, field) for line, field, _ in problems(tmp_path, text)] == [
        (3, "audiences[0].id"),
        (4, "audiences[0].scopes"),
        (7, "audiences[0].max_lifetime"),
        (8, "audiences[0].colour"),
        (11, "clients[0].id"),
        (14, "clients[0].secret"),
        (16, "clients[1]"),
        (16, "clients[1]"),
        (17, "clients[1].secert"),
        (19, "grant"),
    ]


def test_keys_are_read_from_beside_the_file_that_names_them(tmp_path: Path) -> None:
    team = tmp_path / "team"
    team.mkdir()
    write_keys(team / "orders.jwks.json", "k1", "k2")
    (team / "registry.toml").write_text(WITH_KEYS)
    client = read_files(tmp_path).clients["orders"]
    assert not client.secret
    assert client.jwks_files == (team / "orders.jwks.json",)
    assert [key.key.kid for key in client.keys] == ["k1", "k2"]


def test_the_keys_of_a_roll_may_be_in_a_file_each(tmp_path: Path) -> None:
    for kid in ("k1", "k2"):
        write_keys(tmp_path / f"{kid}.json", kid)
    text = WITH_KEYS.replace('"orders.jwks.json"', '["k2.json", "k1.json"]')
    assert [key.key.kid for key in read(tmp_path, text).clients["orders"].keys] == ["k2", "k1"]


@pytest.mark.parametrize(
    "uri", ["https://orders.internal", "http://127.0.0.1:8080/jwks", "https://[fd00::1]/jwks.json"]
)
def test_keys_may_be_fetched_over_https_and_on_loopback(tmp_path: Path, uri: str) -> None:
    text = f'[[clients]]\nid = "orders"\njwks_uri = "{uri}"'
    assert read(tmp_path, text).clients["orders"].jwks_uri == uri


def test_a_secret_in_a_file_is_refused_and_not_quoted(tmp_path: Path) -> None:
    ((_, _, message),) = problems(tmp_path, '[[clients]]\nid = "orders"\nsecret = "hunter2"')
    assert message == 'must be "generate": a registry file holds no secrets'


def test_a_misspelt_key_is_told_its_likely_name(tmp_path: Path) -> None:
    text = WHOLE.replace("max_lifetime", "max_lifetme")
    assert problems(tmp_path, text) == [
        (4, "audiences[0].max_lifetme", "no such key; did you mean max_lifetime?")
    ]


@pytest.mark.parametrize(
    "audience",
    [
        "billing",
        "https://billing.internal/",
        "https://billing.internal/v1/",
        "https://billing.internal#x",
        "https://billing.internal?x=1",
        "https://Billing.internal",
        "HTTPS://billing.internal",
        "https://user@billing.internal",
        "https://billing.internal:443",
        "http://billing.internal:80",
        "https:///v1",
        "https:billing",
        "https://billing internal",
        "https://billing.internal/%zz",
        "https://bílling.internal",
        "urn:",
        "",
        "https://billing.internal/" + "x" * 255,
    ],
)
def test_an_audience_that_could_be_spelt_two_ways_is_refused(tmp_path: Path, audience: str) -> None:
    ((line, field, _),) = problems(tmp_path, f'[[audiences]]\nid = "{audience}"\nscopes = ["x"]')
    assert (line, field) == (2, "audiences[0].id")


@pytest.mark.parametrize(
    "audience",
    ["https://billing.internal:8443/v1", "urn:example:a", "api://x", "http://[::1]:8080"],
)
def test_an_absolute_uri_is_an_audience(tmp_path: Path, audience: str) -> None:
    assert list(read(tmp_path, f'[[audiences]]\nid = "{audience}"\nscopes = ["x"]').audiences) == [
        audience
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "1"),
        ("scopes", '"invoices:read"'),
        ("scopes", "[]"),
        ("scopes", '["a", "a"]'),
        ("scopes", '["a", 1]'),
        ("scopes", '[""]'),
        ("scopes", "['\"']"),
        ("scopes", "['\\']"),
        ("scopes", '["é"]'),
        ("scopes", f'["{"x" * 129}"]'),
        ("max_lifetime", "true"),
        ("max_lifetime", "9"),
        ("max_lifetime", "901"),
        ("max_lifetime", '"16m"'),
        ("max_lifetime", '"-5m"'),
        ("max_lifetime", '"\u0665m"'),
        ("max_lifetime", "300.0"),
        ("max_lifetime", '"5 m"'),
        ("single_use", '"yes"'),
        ("single_use", "1"),
        ("disabled", "0"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(tmp_path: Path, field: str, value: str) -> None:
    values = {"id": '"urn:a"', "scopes": '["x"]'} | {field: value}
    text = "[[audiences]]\n" + "\n".join(f"{name} = {text}" for name, text in values.items())
    ((_, found, _),) = problems(tmp_path, text)
    assert found == f"audiences[0].{field}"


@pytest.mark.parametrize("client", ["", "-a", ".", "a b", "a/b", "../a", "é", "a" * 129])
def test_a_client_id_that_cannot_name_a_file_is_refused(tmp_path: Path, client: str) -> None:
    text = f'[[clients]]\nid = "{client}"\nsecret = "generate"'
    ((_, field, _),) = problems(tmp_path, text)
    assert field == "clients[0].id"


@pytest.mark.parametrize("text", ["audiences = 1", "[audiences]\nid = 1", "audiences = [1]"])
def test_entries_must_be_tables_of_an_array(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text) == [
        (1, "audiences", "must be tables, each under [[audiences]]")
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"[[clients]]\nid = \n", 2),
        (b"[[clients]]\nid = 'a'\nid = 'b'\n", 3),
        (b"[[clients]]\r\n\r\nid = \xff\n", 3),
        (b"x = " + b"[" * 5000, None),
        (b"x = " + b"9" * 5000, None),
        (b"#" * (16 * 1024 * 1024 + 1), None),
        (b"\x00", 1),
    ],
)
def test_what_is_not_toml_is_one_problem(tmp_path: Path, text: bytes, line: int | None) -> None:
    ((found, field, _),) = problems(tmp_path, text)
    assert (found, field) == (line, "")


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(RegistryInvalid, match=r"absent\.toml: No such file"):
        read_files(tmp_path / "absent.toml")


def test_a_directory_is_read_whole_and_a_duplicate_names_both_places(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(WHOLE)
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "b.toml").write_text('[[clients]]\nid = "stock"\nsecret = "generate"')
    (tmp_path / "notes.txt").write_text("not read")
    assert sorted(read_files(tmp_path).clients) == ["orders", "stock"]
    (tmp_path / "team" / "c.toml").write_text(WHOLE)
    with pytest.raises(RegistryInvalid) as caught:
        read_files(tmp_path)
    assert [str(problem) for problem in caught.value.problems] == [
        f"{tmp_path}/team/c.toml:1: audiences[0]: is declared already at {tmp_path}/a.toml:1",
        f"{tmp_path}/team/c.toml:6: clients[0]: is declared already at {tmp_path}/a.toml:6",
        f"{tmp_path}/team/c.toml:10: grants[0]: is declared already at {tmp_path}/a.toml:10",
    ]


def test_what_is_hidden_in_a_directory_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "..2026_01_01").mkdir()
    (tmp_path / "..2026_01_01" / "registry.toml").write_text(WHOLE)
    (tmp_path / "registry.toml").symlink_to("..2026_01_01/registry.toml")
    (tmp_path / ".#registry.toml").write_text("an editor's lock")
    assert list(read_files(tmp_path).clients) == ["orders"]


def test_a_directory_that_cannot_be_read_is_a_problem_and_not_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "registry.toml").write_text(WHOLE)
    closed = tmp_path / "team"
    closed.mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path) == str(closed):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    # Modes do not stop root, who may be running this.
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(RegistryInvalid, match=r"team: Permission denied"):
        read_files(tmp_path)


def test_a_directory_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegistryInvalid, match=r"has no \*\.toml file"):
        read_files(tmp_path)
