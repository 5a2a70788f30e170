from __future__ import annotations

import os
import ssl
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from issuer.fixtures_tls import Pair, connect, replace
from issuer.test_connection import GET, serving
from issuer.test_server import ask
from issuer.test_server import connect as connect_plainly

from ephemera_issuer.certificate import Certificate
from ephemera_issuer.errors import SettingsInvalid
from ephemera_issuer.settings import Settings

if TYPE_CHECKING:
    from ephemera_issuer.demo.process import Service


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path / "tls")


def served(pair: Pair, **reception: Any) -> Service:
    return serving(certificate=[str(pair.cert), str(pair.key)], **reception)


def test_a_certificate_and_its_key_make_modern_tls(pair: Pair) -> None:
    context = Certificate(pair.cert, pair.key).context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.maximum_version == ssl.TLSVersion.MAXIMUM_SUPPORTED


def test_a_key_that_others_can_read_is_refused(pair: Pair) -> None:
    pair.key.chmod(0o644)
    with pytest.raises(SettingsInvalid, match=r"EPHEMERA_TLS_KEY_FILE: .*: others .* 0600"):
        Certificate(pair.cert, pair.key)


@pytest.mark.parametrize("which", ["cert", "key"])
def test_a_file_that_is_not_there_is_named(pair: Pair, which: str) -> None:
    file: Path = getattr(pair, which)
    file.unlink()
    with pytest.raises(SettingsInvalid, match=f"TLS_{which.upper()}_FILE: {file}: No such"):
        Certificate(pair.cert, pair.key)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
@pytest.mark.parametrize("which", ["cert", "key"])
def test_files_that_are_no_pair_are_refused(pair: Pair, which: str, content: bytes) -> None:
    replace(getattr(pair, which), content)
    with pytest.raises(SettingsInvalid, match="are no certificate and its key") as caught:
        Certificate(pair.cert, pair.key)
    assert caught.value.__cause__ is None


def test_the_key_of_another_certificate_is_refused(pair: Pair) -> None:
    _, other = pair.make()
    replace(pair.key, other)
    with pytest.raises(SettingsInvalid, match="key values mismatch"):
        Certificate(pair.cert, pair.key)


def test_a_key_that_wants_a_password_is_refused_and_nobody_is_asked(pair: Pair) -> None:
    key = load_pem_private_key(pair.key.read_bytes(), None)
    sealed = BestAvailableEncryption(b"hunter2")
    replace(pair.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed))
    with pytest.raises(SettingsInvalid, match="the key is encrypted"):
        Certificate(pair.cert, pair.key)


def test_one_file_without_the_other_is_refused(pair: Pair) -> None:
    with pytest.raises(SettingsInvalid, match="EPHEMERA_TLS_KEY_FILE: one without the other"):
        Settings(tls_cert_file=pair.cert)
    with pytest.raises(SettingsInvalid, match="one without the other"):
        Settings(tls_key_file=pair.key)


def test_with_tls_the_issuers_own_name_is_https(pair: Pair) -> None:
    files = {"tls_cert_file": pair.cert, "tls_key_file": pair.key}
    assert Settings(**files).issuer_at(4711) == "https://127.0.0.1:4711"
    assert Settings(**files, listen="[::1]:0").issuer_at(4711) == "https://[::1]:4711"
    with pytest.raises(SettingsInvalid, match="EPHEMERA_ISSUER: must be https, since"):
        Settings(**files, issuer="http://127.0.0.1:8700")


def test_tokens_are_minted_over_tls(pair: Pair) -> None:
    with served(pair) as service:
        assert service.url.startswith("https://")
        with httpx.Client(base_url=service.url, trust_env=False, verify=pair.trusting()) as http:
            answer = ask(http)
            assert answer.status_code == 200
            assert answer.headers["strict-transport-security"] == "max-age=31536000"
            assert http.get("/nowhere").headers["strict-transport-security"]
        context = pair.trusting()
        context.set_alpn_protocols(["h2", "http/1.1"])
        with connect(urlsplit(service.url), context) as connection:
            assert connection.selected_alpn_protocol() == "http/1.1"
            assert connection.version() == "TLSv1.3"
            connection.sendall(b"\x00\x01nonsense\r\n\r\n")
            answer_ = connection.recv(4096)
            assert answer_.startswith(b"HTTP/1.1 400 ")
            assert b"strict-transport-security: max-age" in answer_
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with connect(urlsplit(service.url), context) as connection:
            assert connection.version() == "TLSv1.2"
        assert service.stop() == 0
        assert len(service.output) == 1, "".join(service.output)


def test_what_is_no_tls_is_closed_and_leaves_nothing_behind(pair: Pair) -> None:
    with served(pair) as service:
        descriptors = Path(f"/proc/{service.process.pid}/fd")
        with connect(urlsplit(service.url), pair.trusting()):
            before = len(list(descriptors.iterdir()))
        for sent in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", os.urandom(600)) * 10:
            with connect_plainly(service) as connection:
                connection.sendall(sent)
        with httpx.Client(base_url=service.url, trust_env=False, verify=pair.trusting()) as http:
            assert ask(http).status_code == 200
            # As long as that takes: each is closed once the server has read its end.
            while len(list(descriptors.iterdir())) > before:
                assert ask(http).status_code == 200
        assert service.stop() == 0
        assert len(service.output) == 1, "".join(service.output)


def test_a_handshake_has_its_time_and_not_more(pair: Pair) -> None:
    with served(pair, times={"handshake": 1.0}) as service:
        with connect_plainly(service) as silent, connect_plainly(service) as slow:
            slow.sendall(b"\x16\x03\x01")
            assert silent.recv(1) == b""
            assert slow.recv(1) == b""
        assert service.stop() == 0
        assert len(service.output) == 1, "".join(service.output)


def test_callers_that_never_finish_their_handshake_make_room_for_those_who_do(pair: Pair) -> None:
    with served(pair, in_all=3) as service, ExitStack() as stack:
        descriptors = Path(f"/proc/{service.process.pid}/fd")
        before = len(list(descriptors.iterdir()))
        silent = [stack.enter_context(connect_plainly(service)) for _ in range(60)]
        with connect(urlsplit(service.url), pair.trusting()) as connection:
            connection.sendall(GET)
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
            for one in silent[:58]:
                # At once, or the time of a handshake would end this wait as well.
                one.settimeout(5)
                assert one.recv(1) == b""
            # Those of three connections, and what the process has opened for itself meanwhile.
            assert len(list(descriptors.iterdir())) < before + 10
        assert service.stop() == 0
        assert len(service.output) == 2, "".join(service.output)
