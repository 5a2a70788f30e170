"""What `kubectl apply -k` would send: the part of Kustomize that deploy/ uses, and no more of it.

Whatever it does not know it refuses. `kustomize/` beside this file holds a small tree, and what
Kustomize 5.5 itself made of it.
"""

from __future__ import annotations

import re
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Resource = dict[str, Any]
_FIELDS = {"apiVersion", "kind", "resources", "namespace", "images", "patches"}
_IMAGE = re.compile(r"(?P<name>[^:@]+)(:(?P<tag>[\w.-]+))?(@sha256:[0-9a-f]{64})?")
_CONTAINERS = ("containers", "initContainers")


class Unsupported(Exception):
    """Kustomize may know this, and the part that is here does not."""


def build(directory: Path) -> list[Resource]:
    """The resources of a kustomization, in the order in which they are named."""
    (kustomization,) = documents(directory / "kustomization.yaml")
    if kustomization["kind"] != "Kustomization" or not kustomization.keys() <= _FIELDS:
        raise Unsupported(f"{directory}: {sorted(kustomization.keys() - _FIELDS)}")
    found: list[Resource] = []
    for name in kustomization["resources"]:
        path = (directory / name).resolve()
        found += build(path) if path.is_dir() else documents(path)
    for patch in kustomization.get("patches", ()):
        _patch(found, patch, directory)
    for image in kustomization.get("images", ()):
        for resource in found:
            _rename(resource, image)
    if namespace := kustomization.get("namespace"):
        for resource in found:
            named = resource["kind"] == "Namespace"
            resource["metadata"]["name" if named else "namespace"] = namespace
    identities = [(resource["kind"], resource["metadata"]["name"]) for resource in found]
    if len(set(identities)) != len(identities):
        raise Unsupported(f"{directory}: a resource stands there twice")
    return found


def documents(file: Path) -> list[Resource]:
    """The documents of a YAML file, none of which shares a part with another."""
    return [deepcopy(found) for found in yaml.safe_load_all(file.read_text()) if found]


def containers(resource: Resource) -> Iterator[Resource]:
    """The containers that a resource starts."""
    spec = resource.get("spec", {}).get("template", {}).get("spec", {})
    for kind in _CONTAINERS:
        yield from spec.get(kind, ())


def _patch(resources: list[Resource], patch: Resource, directory: Path) -> None:
    if not patch.keys() <= {"path", "target"}:
        raise Unsupported(f"a patch with {sorted(patch)}")
    (change,) = list(yaml.safe_load_all((directory / patch["path"]).read_text()))
    if isinstance(change, list):
        target = patch["target"]
        if target.keys() != {"kind", "name"}:
            raise Unsupported(f"a target of {sorted(target)}")
        _change(_the(resources, target["kind"], target["name"]), change)
        return
    if "target" in patch:
        raise Unsupported("a merge that names its target twice")
    merged = _the(resources, change["kind"], change["metadata"]["name"])
    _merge(merged, change)


def _the(resources: list[Resource], kind: str, name: str) -> Resource:
    matching = [
        resource
        for resource in resources
        if resource["kind"] == kind and resource["metadata"]["name"] == name
    ]
    if len(matching) != 1:
        raise Unsupported(f"a patch of {kind} {name}, of which there are {len(matching)}")
    return matching[0]


def _merge(into: Resource, change: Resource) -> None:
    for key, value in change.items():
        if isinstance(value, list):
            raise Unsupported(f"{key}: how lists are merged depends on what is in them")
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _change(resource: Resource, operations: list[Resource]) -> None:
    """RFC 6902, without `move`, `copy` and `test`."""
    for operation in operations:
        *parents, last = [
            part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]
        ]
        place: Any = resource
        for part in parents:
            place = place[int(part) if isinstance(place, list) else part]
        at: Any = len(place) if last == "-" else int(last) if isinstance(place, list) else last
        match operation["op"]:
            case "replace":
                place[at]
                place[at] = operation["value"]
            case "remove":
                del place[at]
            case "add" if isinstance(place, list):
                place.insert(at, operation["value"])
            case "add":
                place[at] = operation["value"]
            case other:
                raise Unsupported(other)


def _rename(resource: Resource, image: Resource) -> None:
    if not image.keys() <= {"name", "newName", "newTag"}:
        raise Unsupported(f"an image with {sorted(image)}")
    for container in containers(resource):
        written = _IMAGE.fullmatch(container["image"])
        assert written is not None, container["image"]
        if written["name"] == image["name"]:
            name = image.get("newName", written["name"])
            tag = str(image.get("newTag", written["tag"]))
            container["image"] = f"{name}:{tag}"
