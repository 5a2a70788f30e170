"""Other tokens of the same issuer, shown as access tokens (RFC 8725 §3.11)."""

from attacks.forging import Forgery, with_header

from ephemera_client import TypeRefused

TYPES = [
    *(..., None, "", 0, True, [], {}, ["at+jwt"], {"at+jwt": True}),
    *("JWT", "jwt", "application/jwt", "JOSE", "JOSE+JSON", "JWE", "id+jwt", "at", "+jwt"),
    *("logout+jwt", "secevent+jwt", "dpop+jwt", "client-authentication+jwt", "jwk+jwt", "kb+jwt"),
    *("token-introspection+jwt", "oauth-authz-req+jwt", "entity-statement+jwt", "passport"),
    *("at+jwt ", " at+jwt", "at+jwt;v=1", "at+jwt\u0000", "at jwt", "at+jwts", "xat+jwt"),
    *("text/at+jwt", "application/application/at+jwt", "application/ at+jwt", "*/at+jwt"),
    *("a\uff54+jwt", "at\u200b+jwt", "\u0430t+jwt", "at+j\u0175t"),
]

FORGERIES = [Forgery(f"typ {typ!a}", TypeRefused, with_header(typ=typ)) for typ in TYPES]
