"""The calling team's command: `python -m ephemera_client keygen | token | inspect | verify`.

Exit status 0, 1 where the issuer or the verifier says no, 2 where the command is wrong.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ephemera_client import compact, instant, keygen
from ephemera_client.assertion import PrivateKeyJWT
from ephemera_client.credential import ClientSecret, Credential
from ephemera_client.errors import (
    ConfigurationError,
    EphemeraError,
    TokenRefused,
    TokenRequestRefused,
)
from ephemera_client.explain import explain
from ephemera_client.jwk import ALGORITHMS
from ephemera_client.replay import NoReplayCache
from ephemera_client.tokens import TokenClient
from ephemera_client.verifier import Verifier
from ephemera_client.workload import WorkloadIdentity

_REFUSED = 1
_MISTAKEN = 2

_KEY_FILE = "EPHEMERA_CLIENT_KEY_FILE"
_SECRET_FILE = "EPHEMERA_CLIENT_SECRET_FILE"  # noqa: S105 - a name

# A header line around the largest token that is looked at.
_INPUT_BYTES = 16_384


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    chosen = _parser().parse_args(arguments)
    try:
        chosen.run(chosen)
    except ConfigurationError as error:
        _complain(str(error))
        return _MISTAKEN
    except TokenRefused as error:
        _complain(f"refused ({error.code}): {error}")
        return _REFUSED
    except TokenRequestRefused as error:
        _complain(f"{error}\nerror: {error.error}")
        if error.description:
            _complain(f"the issuer says: {error.description}")
        return _REFUSED
    except EphemeraError as error:
        _complain(f"{error} ({getattr(error, 'cause_code', error.code)})")
        return _REFUSED
    return 0


def _keygen(chosen: argparse.Namespace) -> None:
    written = keygen.write(chosen.name, Path(chosen.directory), algorithm=chosen.algorithm)
    _say(f"{written.private}: the private key; keep it where only {chosen.name!a} can read it")
    _say(f"{written.public}: the public key, kid {written.kid}; for the issuer's registry")


def _token(chosen: argparse.Namespace) -> None:
    with TokenClient(
        _setting(chosen, "issuer"),
        client_id=_setting(chosen, "client-id"),
        credential=_credential(chosen),
        unencrypted_hosts=chosen.unencrypted_host,
        ca_file=chosen.ca_file,
    ) as tokens:
        token = tokens.get(chosen.audience, scopes=chosen.scope or None, lifetime=chosen.lifetime)
    _say(f"Authorization: Bearer {token}" if chosen.header else str(token))


def _credential(chosen: argparse.Namespace) -> Credential:
    # What is given at the shell comes before what is in the environment, of either kind.
    key_file = chosen.key_file or (not chosen.secret_file and os.environ.get(_KEY_FILE))
    if key_file:
        return PrivateKeyJWT.from_file(key_file)
    secret_file = chosen.secret_file or os.environ.get(_SECRET_FILE)
    if secret_file:
        return ClientSecret.from_file(secret_file)
    try:
        return WorkloadIdentity.find()
    except ConfigurationError as error:
        raise ConfigurationError(
            f"give --secret-file or set {_SECRET_FILE}, or --key-file or {_KEY_FILE}; {error}"
        ) from error


def _inspect(chosen: argparse.Namespace) -> None:
    raw = _given(chosen)
    for line in explain(compact.parse(raw), length=len(raw), now=instant.read().wall):
        _say(line)


def _verify(chosen: argparse.Namespace) -> None:
    verifier = Verifier(
        issuer=_setting(chosen, "issuer"),
        audience=chosen.audience,
        algorithm=chosen.algorithm,
        replay_cache=NoReplayCache(),
        jwks_url=chosen.jwks_url,
        unencrypted_hosts=chosen.unencrypted_host,
        ca_file=chosen.ca_file,
    )
    token = verifier.verify(_given(chosen), scopes=frozenset(chosen.scope))
    _say(f"valid: from {token.client_id!a}, scopes {' '.join(sorted(token.scopes)) or '(none)'!a}")
    _say("It was not claimed here, and whether an API has accepted it before is not known here.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ephemera_client",
        description="Make a key, ask for a token, look into one, verify one.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    reaching = argparse.ArgumentParser(add_help=False)
    reaching.add_argument("--issuer", help="its https origin (or EPHEMERA_CLIENT_ISSUER)")
    reaching.add_argument("--scope", action="append", default=[], help="may be repeated")
    reaching.add_argument("--ca-file", help="PEM file of a private authority")
    reaching.add_argument(
        "--unencrypted-host",
        action="append",
        default=[],
        help="host that may be asked over plain http; may be repeated",
    )
    showing = argparse.ArgumentParser(add_help=False)
    showing.add_argument("token", nargs="?", help="the token; without it, standard input is read")

    making = commands.add_parser(
        "keygen", allow_abbrev=False, help="make a client's private key and its public half"
    )
    making.add_argument("name", help="of the client; NAME.pem and NAME.jwks.json are written")
    making.add_argument("--directory", default=".", help="where to; the current one by default")
    making.add_argument("--algorithm", choices=sorted(ALGORITHMS), default="ES256")
    making.set_defaults(run=_keygen)

    token = commands.add_parser(
        "token", parents=[reaching], allow_abbrev=False, help="ask the issuer for a token"
    )
    token.add_argument("audience", help="identifier of the API to call")
    token.add_argument("--client-id", help="(or EPHEMERA_CLIENT_ID)")
    proof = token.add_mutually_exclusive_group()
    proof.add_argument("--key-file", help=f"PEM or JWK file with the private key (or {_KEY_FILE})")
    proof.add_argument("--secret-file", help=f"file with the client secret (or {_SECRET_FILE})")
    token.add_argument("--lifetime", type=int, help="seconds")
    token.add_argument(
        "--header", action="store_true", help="print an Authorization header, for curl -H @-"
    )
    token.set_defaults(run=_token)

    inspect = commands.add_parser(
        "inspect",
        parents=[showing],
        allow_abbrev=False,
        help="decode and explain a token; verifies nothing",
    )
    inspect.set_defaults(run=_inspect)

    verify = commands.add_parser(
        "verify",
        parents=[reaching, showing],
        allow_abbrev=False,
        help="verify a token without claiming it",
    )
    verify.add_argument("--audience", required=True, help="identifier of the API it is for")
    verify.add_argument("--algorithm", choices=sorted(ALGORITHMS), default="ES256")
    verify.add_argument("--jwks-url", help="where the keys are, if not found by discovery")
    verify.set_defaults(run=_verify)
    return parser


def _setting(chosen: argparse.Namespace, name: str) -> str:
    variable = {
        "issuer": "EPHEMERA_CLIENT_ISSUER",
        "client-id": "EPHEMERA_CLIENT_ID",
    }[name]
    value = getattr(chosen, name.replace("-", "_")) or os.environ.get(variable)
    if not value:
        raise ConfigurationError(f"give --{name} or set {variable}")
    return str(value)


def _given(chosen: argparse.Namespace) -> str:
    # A token or a whole header; bytes that are not ASCII are for the parser to refuse.
    text = chosen.token or sys.stdin.buffer.read(_INPUT_BYTES).decode("latin-1")
    for prefix in ("authorization:", "bearer ", "dpop "):
        text = text.strip()
        if text.lower().startswith(prefix):
            text = text[len(prefix) :]
    return str(text.strip())


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _complain(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
