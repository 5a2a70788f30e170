"""One file of tests/vectors/registry for each mistake that a registry's author can make."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from issuer.fixtures_registry import registry

from ephemera_issuer.errors import RegistryInvalid
from ephemera_issuer.registry.diff import difference
from ephemera_issuer.registry.file import read_files
from ephemera_issuer.registry.schema import ENTRIES

VECTORS = sorted((Path(__file__).parents[1] / "vectors" / "registry").glob("*.toml"))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.stem)
def test_a_mistake_is_told_with_file_line_and_field(vector: Path, tmp_path: Path) -> None:
    case = tomllib.loads(vector.read_text())
    assert case.keys() == {"problems", "files"}
    for name, text in case["files"].items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    with pytest.raises(RegistryInvalid) as caught:
        difference(read_files(tmp_path), registry(), prune=True)
    told = str(caught.value).replace(f"{tmp_path}/", "").replace(str(tmp_path), ".")
    assert told.splitlines() == case["problems"]


def test_every_key_of_the_schema_has_a_mistake_of_its_own() -> None:
    text = "".join(vector.read_text() for vector in VECTORS)
    told = set(re.findall(r"(\w+)\[\d\]\.(\w+):", text))
    missing = set(re.findall(r"(\w+)\[\d\]: (\w+) is missing", text))
    keys = {(name, key) for name, kind in ENTRIES.items() for key in kind.fields}
    required = {(name, key) for name, key in keys if ENTRIES[name].fields[key].required}
    assert keys <= told
    assert required == missing
