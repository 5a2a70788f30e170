"""Another text that decodes to the same bytes: a second token with a valid signature."""

from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator

from attacks.forging import Forge, Forgery, Recipe, with_text

from ephemera_client import TokenMalformed

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
INSERTED = [
    *("=", "==", "====", "\n", "\r\n", " ", "\t", "\x00", "+", "/", "!", "*", "~", "%3D"),
    *("\u00e9", "\u2028", "\uff21", "\u200b"),
]
WRAPPINGS: dict[str, Callable[[str], str]] = {
    "space in front": lambda token: " " + token,
    "space behind": lambda token: token + " ",
    "line end behind": lambda token: token + "\n",
    "zero behind": lambda token: token + "\x00",
    "byte order mark": lambda token: "\ufeff" + token,
    "quoted": lambda token: f'"{token}"',
    "quoted once": lambda token: f"'{token}'",
    "with its scheme": lambda token: f"Bearer {token}",
    "dot behind": lambda token: token + ".",
    "dot in front": lambda token: "." + token,
    "percent-encoded dots": lambda token: token.replace(".", "%2E"),
    "other dots": lambda token: token.replace(".", "\u3002"),
    "commas for dots": lambda token: token.replace(".", ","),
    "lower case": str.lower,
    "upper case": str.upper,
    "all padded": lambda token: ".".join(part + "=" * (-len(part) % 4) for part in _split(token)),
    "encoded again": lambda token: token.encode().hex(),
}


def _split(token: str) -> list[str]:
    return token.split(".")


def twins(part: str) -> list[str]:
    """Every other last character with which a part decodes to the same bytes."""
    padding = "=" * (-len(part) % 4)
    same = urlsafe_b64decode(part + padding)
    others = [part[:-1] + last for last in ALPHABET if last != part[-1]]
    return [other for other in others if urlsafe_b64decode(other + padding) == same]


def _twin(place: int, number: int) -> Recipe:
    def recipe(forge: Forge) -> str:
        for filling in ("", "x", "xx"):
            parts = _split(forge.token(header={"more": filling}, more=filling))
            others = twins(parts[place])
            if others:
                parts[place] = others[number % len(others)]
                return ".".join(parts)
        raise AssertionError("one of three lengths in a row has bits to spare")

    return recipe


def _inserted(text: str, place: int, end: str) -> Recipe:
    def change(token: str) -> str:
        parts = _split(token)
        at = {"front": 0, "middle": 20, "back": len(parts[place])}[end]
        parts[place] = parts[place][:at] + text + parts[place][at:]
        return ".".join(parts)

    return with_text(change)


def _standard(forge: Forge) -> str:
    while not {"-", "_"} & set(token := forge.token()):
        pass
    return token.replace("-", "+").replace("_", "/")


def _signature(text: str) -> Recipe:
    return with_text(lambda token: f"{token.rpartition('.')[0]}.{text}")


def _all() -> Iterator[Forgery]:
    for place, part in enumerate(("header", "claims", "signature")):
        for number in range(3):
            # A signature of 64 or 256 bytes always has bits to spare, the others at some length.
            name = f"{part}, other spelling {number}"
            yield Forgery(name, TokenMalformed, _twin(place, number))
        for text in INSERTED:
            for end in ("front", "middle", "back"):
                name = f"{text!a} in {part}, {end}"
                yield Forgery(name, TokenMalformed, _inserted(text, place, end))
    for name, change in WRAPPINGS.items():
        yield Forgery(name, TokenMalformed, with_text(change))
    yield Forgery("standard alphabet", TokenMalformed, _standard)
    for length in (1, 5, 9):
        yield Forgery(f"signature of {length}", TokenMalformed, _signature("A" * length))


FORGERIES = list(_all())
