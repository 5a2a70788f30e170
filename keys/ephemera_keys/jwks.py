"""The published document (RFC 7517 §5)."""

import json

from ephemera_keys.ring import KeyRing


def document(ring: KeyRing) -> bytes:
    """Write the JWK Set: the active key, the pending one, then the retired, last retired first.

    The same published keys give the same bytes on every replica, so that a strong ETag can be
    made of them.
    """
    keys = [dict(record.jwk) for record in ring.published]
    return json.dumps({"keys": keys}, separators=(",", ":"), sort_keys=True).encode()
