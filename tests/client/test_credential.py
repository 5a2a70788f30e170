import base64
import copy
import pickle
from pathlib import Path
from urllib.parse import unquote_plus

import pytest

from ephemera_client.credential import ClientSecret
from ephemera_client.errors import ConfigurationError


def test_both_parts_are_form_encoded_before_basic() -> None:
    proof = ClientSecret("p%:+ w").prove("or:ders", issuer="https://tokens.internal")
    scheme, _, encoded = proof.headers["authorization"].partition(" ")
    client_id, _, secret = base64.b64decode(encoded).decode().partition(":")
    assert scheme == "Basic"
    assert (unquote_plus(client_id), unquote_plus(secret)) == ("or:ders", "p%:+ w")
    assert proof.form == {}


def test_the_secret_shows_nowhere() -> None:
    secret = ClientSecret("hunter2hunter2")
    proof = secret.prove("orders", issuer="https://tokens.internal")
    for shown in (repr(secret), str(secret), f"{secret}", repr(proof), str(proof)):
        assert "hunter2" not in shown
        assert "Basic" not in shown
    assert not hasattr(secret, "__dict__")
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            leak(secret)


@pytest.mark.parametrize("written", ["s3cret", "s3cret\n", "s3cret\r\n"])
def test_a_secret_is_the_one_line_of_its_file(written: str, tmp_path: Path) -> None:
    file = tmp_path / "orders.secret"
    file.write_text(written, newline="")
    read, given = ClientSecret.from_file(file), ClientSecret("s3cret")
    assert read.prove("orders", issuer="x") == given.prove("orders", issuer="x")


@pytest.mark.parametrize("written", [b"", b"\n", b"s3cret\nmore\n", b"s3cr\xc3\xa9t\n", b"s3\0t"])
def test_a_file_of_anything_else_is_a_configuration_error(written: bytes, tmp_path: Path) -> None:
    file = tmp_path / "orders.secret"
    file.write_bytes(written)
    with pytest.raises(ConfigurationError, match=r"orders\.secret: not one line") as refused:
        ClientSecret.from_file(file)
    assert "s3" not in str(refused.value)
    assert refused.value.__context__ is None


def test_a_file_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        ClientSecret.from_file(tmp_path / "nowhere")


@pytest.mark.parametrize("secret", ["", "s3cr\nt", "s3crét", None, b"s3cret"])
def test_an_unusable_secret_is_a_configuration_error(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="printable ASCII") as refused:
        ClientSecret(secret)
    assert "s3" not in str(refused.value)
