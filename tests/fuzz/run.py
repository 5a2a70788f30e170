"""Fuzz one target: `python -m fuzz.run TARGET CORPUS [libFuzzer's options]`, from tests/."""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ephemera_client", "ephemera_issuer.proxies"]):
    from fuzz.seeds import plant
    from fuzz.targets import TARGETS


def main(target: str, corpus: str, *options: str) -> None:
    plant(target, Path(corpus))
    # Longer than the longest token, so that this bound is crossed as well.
    atheris.Setup([target, corpus, "-max_len=9000", "-timeout=5", *options], TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
