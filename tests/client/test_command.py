import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from client.fixtures_requesting import Reply, certificate, closed_port, issuing

from ephemera_client import compact
from ephemera_client.__main__ import main
from ephemera_client.explain import explain
from ephemera_client.testing import FakeIssuer

AUDIENCE = "https://billing.internal"
Output = pytest.CaptureFixture[str]


@pytest.fixture
def secret_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("ISSUER", "ID", "SECRET_FILE"):
        monkeypatch.delenv(f"EPHEMERA_CLIENT_{name}", raising=False)
    file = tmp_path / "orders.secret"
    file.write_text("hunter2\n")
    return str(file)


def _feed(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))


def test_token_prints_a_token_and_nothing_else(secret_file: str, capsys: Output) -> None:
    with issuing() as issuer:
        status = main(
            [
                *("token", AUDIENCE, "--issuer", issuer.origin, "--client-id", "orders"),
                *("--secret-file", secret_file, "--scope", "a", "--scope", "b"),
                *("--lifetime", "30"),
            ]
        )
    printed = capsys.readouterr()
    assert (status, printed.err) == (0, "")
    assert printed.out.count(".") == 2
    assert len(printed.out.split()) == 1
    asked = issuer.token_requests[0]
    assert (asked["scope"], asked["lifetime"], asked["basic"]) == ("a b", "30", "orders:hunter2")


def test_token_takes_its_settings_from_the_environment_and_prints_a_header(
    secret_file: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    with issuing() as issuer:
        monkeypatch.setenv("EPHEMERA_CLIENT_ISSUER", issuer.origin)
        monkeypatch.setenv("EPHEMERA_CLIENT_ID", "orders")
        monkeypatch.setenv("EPHEMERA_CLIENT_SECRET_FILE", secret_file)
        assert main(["token", AUDIENCE, "--header"]) == 0
    assert capsys.readouterr().out.startswith("Authorization: Bearer ey")


@pytest.mark.parametrize("missing", ["issuer", "client-id", "secret-file"])
def test_a_missing_setting_names_the_option_and_the_variable(
    missing: str, secret_file: str, capsys: Output
) -> None:
    given = {
        "--issuer": "https://tokens.internal",
        "--client-id": "orders",
        "--secret-file": secret_file,
    }
    del given[f"--{missing}"]
    arguments = [part for pair in given.items() for part in pair]
    assert main(["token", AUDIENCE, *arguments]) == 2
    assert f"give --{missing} or set EPHEMERA_CLIENT_" in capsys.readouterr().err


def test_a_refusal_shows_the_issuers_words_and_no_secret(secret_file: str, capsys: Output) -> None:
    words = {"error": "invalid_client", "error_description": "no such secret"}
    with issuing() as issuer:
        issuer.planned.append(Reply(401, json.dumps(words).encode()))
        status = main(
            [
                *("token", AUDIENCE, "--issuer", issuer.origin),
                *("--client-id", "orders", "--secret-file", secret_file),
            ]
        )
    printed = capsys.readouterr()
    assert (status, printed.out) == (1, "")
    assert "tried client_secret_basic" in printed.err
    assert "error: invalid_client\nthe issuer says: no such secret\n" in printed.err
    assert "hunter2" not in printed.err


def test_an_issuer_that_is_away_is_told_with_its_cause(secret_file: str, capsys: Output) -> None:
    status = main(
        [
            *("token", AUDIENCE, "--issuer", f"http://127.0.0.1:{closed_port()}"),
            *("--client-id", "orders", "--secret-file", secret_file),
        ]
    )
    assert status == 1
    assert "(connect_failed)" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["{}", "{}\n", "Bearer {}", "Authorization: Bearer {}\r\n"])
def test_inspect_explains_a_token_or_a_header_and_says_that_nothing_was_verified(
    form: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    token = FakeIssuer().mint(AUDIENCE, scopes={"invoices:read"})
    _feed(monkeypatch, form.format(token).encode())
    assert main(["inspect"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("NOT VERIFIED")
    assert f'aud        "{AUDIENCE}"\n' in shown
    assert "the one API that may accept it" in shown
    assert f"{len(token)} bytes in all, 64 of them signature, not verified" in shown
    assert token not in shown


def test_inspect_takes_the_token_as_an_argument_too(capsys: Output) -> None:
    assert main(["inspect", FakeIssuer().mint(AUDIENCE)]) == 0
    assert "NOT VERIFIED" in capsys.readouterr().out


@pytest.mark.parametrize("given", [b"", b"hello", b"a.b.c", b"\xff\xfe", b"x" * 20_000])
def test_inspect_refuses_what_is_no_token(
    given: bytes, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    _feed(monkeypatch, given)
    assert main(["inspect"]) == 1
    assert capsys.readouterr().err.startswith("refused (token_")


def test_a_strangers_token_cannot_steer_the_terminal() -> None:
    strange = {"scope": "\x1b[2J\u202e", "iat": 10**30, "\x1b]0;x\x07": "y"}
    token = FakeIssuer().mint(AUDIENCE, claims=strange)
    lines = list(explain(compact.parse(token), length=len(token), now=0.0))
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert any("not a member that Ephemera issues" in line for line in lines)
    assert any("at no moment that a clock shows" in line for line in lines)


def test_moments_are_told_from_now() -> None:
    issuer = FakeIssuer()
    issuer.at(1_700_000_000)
    token = issuer.mint(AUDIENCE, claims={"nbf": "soon"})
    text = "\n".join(explain(compact.parse(token), length=1, now=1_700_000_030.0))
    assert "made 2023-11-14 22:13:20 UTC, 30 s ago" in text
    assert "expires 2023-11-14 22:15:20 UTC, 90 s from now" in text
    assert "not valid before at no moment" in text


def test_verify_says_who_calls_and_claims_nothing(
    secret_file: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    assert secret_file
    with FakeIssuer.on_loopback() as issuer:
        raw = issuer.mint(AUDIENCE, scopes={"invoices:read"})
        for _ in range(2):
            _feed(monkeypatch, raw.encode())
            arguments = ["--issuer", issuer.issuer, "--audience", AUDIENCE]
            assert main(["verify", *arguments, "--scope", "invoices:read"]) == 0
            shown = capsys.readouterr().out
            assert "valid: from 'orders', scopes 'invoices:read'" in shown
            assert "not claimed" in shown


def test_verify_says_why_not(capsys: Output) -> None:
    with FakeIssuer.on_loopback() as issuer:
        raw = issuer.mint_refused("audience_mismatch", AUDIENCE)
        assert main(["verify", raw, "--issuer", issuer.issuer, "--audience", AUDIENCE]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("refused (audience_mismatch)")
    assert printed.out == ""


def test_verify_names_an_unknown_authority(tmp_path: Path, capsys: Output) -> None:
    made = certificate(tmp_path)
    with issuing(tls=made.tls) as issuer:
        arguments = ["--issuer", issuer.origin, "--audience", AUDIENCE]
        assert main(["verify", issuer.mint(AUDIENCE), *arguments]) == 1
        assert "(tls_unknown_authority)" in capsys.readouterr().err
        trusting = ["--ca-file", str(made.file)]
        assert main(["verify", issuer.mint(AUDIENCE), *arguments, *trusting]) == 0


@pytest.mark.parametrize(
    "arguments", [[], ["frobnicate"], ["token"], ["verify"], ["token", "x", "--secret", "s"]]
)
def test_a_wrong_command_line_is_status_2(arguments: list[str], capsys: Output) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m ephemera_client" in capsys.readouterr().err


def test_the_module_runs_as_a_command() -> None:
    command = [sys.executable, "-W", "error", "-m", "ephemera_client", "inspect"]
    token = FakeIssuer().mint(AUDIENCE)
    ran = subprocess.run(command, input=token.encode(), capture_output=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert b"NOT VERIFIED" in ran.stdout
