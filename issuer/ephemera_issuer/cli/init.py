"""`ephemera init`: a registry to start from, a client's key, and what to do next."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ephemera_issuer.errors import InitRefused
from ephemera_issuer.settings import Settings
from ephemera_keys import generate, pem, public_jwk

if TYPE_CHECKING:
    from collections.abc import Mapping

_AUDIENCE = "https://billing.internal"
_CLIENT = "orders"
_REGISTRY = f"""\
# Who may call whom. `ephemera apply` makes the registry match this file; what no grant allows is
# refused. A whole directory of such files can be one registry, each owned by its own team.

# A called API. Its tokens name it, and no other, as their audience.
[[audiences]]
id = "{_AUDIENCE}"
scopes = ["invoices:read", "invoices:write"]
max_lifetime = "5m"              # 15 minutes at most, and by default
single_use = true                # the default: the API accepts each token once
# introspected_by = ["{_CLIENT}"]   # clients that may ask the issuer about these tokens
# dpop = "required"               # every token is bound to its sender's key (RFC 9449)
# disabled = true                # gets no tokens, without being deleted

# A calling service, and how it proves who it is.
[[clients]]
id = "{_CLIENT}"
jwks_file = "{_CLIENT}.jwks.json"   # its public keys, beside this file; two while they are rolled
# jwks_uri = "https://orders.internal/jwks.json"    # or where it publishes them itself
# secret = "generate"            # or a secret, written to --secrets-dir and never printed
# disabled = true                # can do nothing, without being deleted

# What one may ask for at the other.
[[grants]]
client = "{_CLIENT}"
audience = "{_AUDIENCE}"
scopes = ["invoices:read"]
# max_lifetime = "90s"           # where it should be shorter than the audience's
"""


def init(
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Made if need be.", file_okay=False)
    ] = Path(),
) -> None:
    """Write a commented registry file, make a client's key, and print the next commands.

    Nothing that is there already is overwritten.
    """
    key = generate("ES256")
    public = json.dumps({"keys": [dict(public_jwk(key, alg="ES256"))]}, indent=2) + "\n"
    registry = directory / "registry.toml"
    key_file = directory / "keys" / f"{_CLIENT}.pem"
    files = {
        registry: _REGISTRY.encode(),
        directory / f"{_CLIENT}.jwks.json": public.encode(),
        key_file: pem.dump(key),
    }
    # Before anything is written: what is there already is in the way of another try.
    settings = Settings()
    _write(files, private=key_file)
    issuer = settings.issuer_at(settings.address.port)
    if settings.plain_http_meant:
        issuer += f" --unencrypted-host {settings.plain_http_host}"
    for file in files:
        typer.echo(f"Wrote {file}")
    typer.echo(
        f"""
{key_file} is private: it goes to {_CLIENT} alone, and into no repository. Next:

  ephemera apply {shlex.quote(str(registry))}
  ephemera explain --client {_CLIENT} --audience {_AUDIENCE}
  ephemera serve

and while that serves, as {_CLIENT} in another shell:

  python -m ephemera_client token {_AUDIENCE} --issuer {issuer} \
--client-id {_CLIENT} --key-file {shlex.quote(str(key_file))}"""
    )


def _write(files: Mapping[Path, bytes], *, private: Path) -> None:
    there = [str(file) for file in files if os.path.lexists(file)]
    if there:
        raise InitRefused(f"there already, and left as it is: {', '.join(there)}")
    try:
        for file, content in files.items():
            secret = file == private
            file.parent.mkdir(mode=0o700 if secret else 0o777, parents=True, exist_ok=True)
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            with os.fdopen(os.open(file, flags, 0o600 if secret else 0o666), "wb") as stream:
                stream.write(content)
    except OSError as error:
        raise InitRefused(f"{error.filename}: {error.strerror}") from error
