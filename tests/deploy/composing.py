"""The compose file as `docker compose` reads it: variables filled in, anchors merged."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import yaml
from compose_spec import PyCompose

if TYPE_CHECKING:
    from collections.abc import Mapping

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(:(?P<sign>[-?])(?P<text>[^}]*))?\}")


class VariableMissing(Exception):
    """A variable that has no default is not set."""


def load(text: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """Read a compose file, and have it checked against the Compose specification.

    Raises:
        VariableMissing: With the text that the file has for that.
        ValueError: It is not written as the specification says, or names a secret, network,
            volume or service that there is not.
    """

    def fill(found: re.Match[str]) -> str:
        if value := variables.get(found["name"]):
            return value
        if found["sign"] == "-":
            return found["text"]
        raise VariableMissing(f"{found['name']}: {found['text']}")

    filled = "\n".join(
        line if line.startswith("#") else _VARIABLE.sub(fill, line) for line in text.splitlines()
    )
    document: dict[str, Any] = yaml.safe_load(filled)
    checked = PyCompose.from_json(json.dumps(document))
    checked.validate()
    for name, service in document["services"].items():
        for needed in service.get("depends_on", {}):
            if needed not in document["services"]:
                raise ValueError(f"service {name} depends on {needed}, which there is not")
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source[0] not in "./" and source not in document.get("volumes", {}):
                raise ValueError(f"service {name} mounts {source}, which there is not")
    return document
