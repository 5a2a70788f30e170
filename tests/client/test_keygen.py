import errno
import json
import os
import stat
from pathlib import Path

import jwt
import pytest
from client.fixtures_requesting import issuing

from ephemera_client import ConfigurationError, PrivateKeyJWT, StaticKeys, keygen
from ephemera_client.__main__ import main

Output = pytest.CaptureFixture[str]
AUDIENCE = "https://billing.internal"


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_the_two_files_are_one_pair(algorithm: str, tmp_path: Path) -> None:
    written = keygen.write("orders", tmp_path, algorithm=algorithm)
    assert sorted(tmp_path.iterdir()) == [written.public, written.private]
    assert stat.S_IMODE(written.private.stat().st_mode) == 0o600
    jwks = json.loads(written.public.read_text())
    (public,) = jwks["keys"]
    assert public.keys() >= {"kty", "use", "alg", "kid"}
    assert not public.keys() & {"d", "p", "q", "dp", "dq", "qi"}
    StaticKeys(jwks)
    proof = PrivateKeyJWT.from_file(written.private).prove("orders", issuer="https://x")
    header = jwt.get_unverified_header(proof.form["client_assertion"])
    assert (
        (header["alg"], header["kid"]) == (algorithm, written.kid) == (public["alg"], public["kid"])
    )


@pytest.mark.parametrize("there", ["orders.pem", "orders.jwks.json"])
def test_a_file_that_is_there_stays_and_nothing_else_is_left(there: str, tmp_path: Path) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(ConfigurationError, match=f"{there}: File exists; nothing was written"):
        keygen.write("orders", tmp_path, algorithm="ES256")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(there, "mine")]


def test_a_full_disk_leaves_no_half_of_a_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigurationError, match="No space left on device; nothing was written"):
        keygen.write("orders", tmp_path, algorithm="ES256")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "../orders", "a/b", ".orders", "-x", "orders\n", "a" * 129])
def test_a_name_that_would_lead_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="name"):
        keygen.write(name, tmp_path, algorithm="ES256")
    assert list(tmp_path.iterdir()) == []


def test_the_command_names_the_files_and_shows_no_key(tmp_path: Path, capsys: Output) -> None:
    assert main(["keygen", "orders", "--directory", str(tmp_path), "--algorithm", "EdDSA"]) == 0
    printed = capsys.readouterr()
    assert str(tmp_path / "orders.pem") in printed.out
    assert str(tmp_path / "orders.jwks.json") in printed.out
    assert json.loads((tmp_path / "orders.jwks.json").read_text())["keys"][0]["kid"] in printed.out
    assert "PRIVATE KEY" not in printed.out + printed.err
    assert main(["keygen", "orders", "--directory", str(tmp_path)]) == 2
    assert "File exists" in capsys.readouterr().err


def test_a_directory_that_is_not_there_is_named(tmp_path: Path, capsys: Output) -> None:
    assert main(["keygen", "orders", "--directory", str(tmp_path / "keys")]) == 2
    assert "orders.pem: No such file" in capsys.readouterr().err


@pytest.mark.parametrize("by", ["option", "environment"])
def test_the_token_command_signs_with_the_key(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    key_file = str(keygen.write("orders", tmp_path, algorithm="ES256").private)
    monkeypatch.setenv("EPHEMERA_CLIENT_SECRET_FILE", str(tmp_path / "none"))
    if by == "environment":
        monkeypatch.setenv("EPHEMERA_CLIENT_KEY_FILE", key_file)
    option = ["--key-file", key_file] if by == "option" else []
    with issuing() as issuer:
        arguments = ["token", AUDIENCE, "--issuer", issuer.origin, "--client-id", "orders"]
        assert main([*arguments, *option]) == 0
    assert capsys.readouterr().out.count(".") == 2
    asked = issuer.token_requests[0]
    assertion = jwt.decode(asked["client_assertion"], options={"verify_signature": False})
    assert (assertion["iss"], assertion["sub"], assertion["aud"]) == (
        "orders",
        "orders",
        issuer.origin,
    )


def test_a_key_and_a_secret_at_once_are_one_too_many(capsys: Output) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["token", AUDIENCE, "--key-file", "a", "--secret-file", "b"])
    assert stopped.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_a_secret_file_at_the_shell_comes_before_a_key_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPHEMERA_CLIENT_KEY_FILE", str(tmp_path / "none"))
    secret = tmp_path / "orders.secret"
    secret.write_text("hunter2\n")
    with issuing() as issuer:
        arguments = ["token", AUDIENCE, "--issuer", issuer.origin, "--client-id", "orders"]
        assert main([*arguments, "--secret-file", str(secret)]) == 0
    assert issuer.token_requests[0]["basic"] == "orders:hunter2"
