"""A checker of systemd units, for machines that have no systemd: syntax, names, values, sandbox.

It knows the directives that deploy/ uses and how the value of each is written, as systemd.unit(5),
systemd.service(5), systemd.exec(5), systemd.kill(5) and systemd.resource-control(5) have it, and
refuses every other one: systemd itself would only warn about a name that it does not know, and go
on without that part of the sandbox.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_YES_NO: Final = r"yes|no"
_SECONDS: Final = r"(0|[1-9]\d*)(s|min)?"
_UNITS: Final = r"([\w@.-]+\.(service|socket|target)( |$))+"
_BYTES: Final = r"[1-9]\d*[KMG]?|infinity"
_COUNT: Final = r"\d+|infinity"
_PATH: Final = r"/[\w./@-]*"
_CALLS: Final = r"~?(@[a-z-]+|[a-z0-9_]+)( (@[a-z-]+|[a-z0-9_]+))*"

GRAMMAR: Final[dict[str, dict[str, str]]] = {
    "Unit": {
        "Description": r"\S.*",
        "Documentation": r"((https?|man|file):\S+( |$))+",
        "Wants": _UNITS,
        "After": _UNITS,
        "StartLimitIntervalSec": _SECONDS,
    },
    "Service": {
        "Type": r"simple|exec|forking|oneshot|dbus|notify|idle",
        "User": r"[a-z_][a-z0-9_-]*",
        "Group": r"[a-z_][a-z0-9_-]*",
        "ExecStart": rf"{_PATH}( \S+)*",
        "EnvironmentFile": rf"-?{_PATH}",
        "Environment": r"[A-Z_]+=\S*",
        "Restart": r"no|always|on-success|on-failure|on-abnormal|on-abort|on-watchdog",
        "RestartSec": _SECONDS,
        "RestartPreventExitStatus": r"\d+( \d+)*",
        "KillMode": r"control-group|mixed|process|none",
        "TimeoutStopSec": _SECONDS,
        "LoadCredential": rf"[\w.-]+:{_PATH}",
        "StateDirectory": r"[\w-]+",
        "StateDirectoryMode": r"0[0-7]{3}",
        "WorkingDirectory": _PATH,
        "UMask": r"0[0-7]{3}",
        "LimitCORE": _COUNT,
        "LimitNOFILE": _COUNT,
        "TasksMax": _COUNT,
        "MemoryMax": _BYTES,
        "CapabilityBoundingSet": r"(~?CAP_[A-Z_]+( CAP_[A-Z_]+)*)?",
        "AmbientCapabilities": r"(CAP_[A-Z_]+( CAP_[A-Z_]+)*)?",
        "NoNewPrivileges": _YES_NO,
        "ProtectSystem": r"yes|no|full|strict",
        "ProtectHome": r"yes|no|read-only|tmpfs",
        "ProtectProc": r"noaccess|invisible|ptraceable|default",
        "ProcSubset": r"all|pid",
        "ProtectClock": _YES_NO,
        "ProtectHostname": _YES_NO,
        "ProtectKernelLogs": _YES_NO,
        "ProtectKernelModules": _YES_NO,
        "ProtectKernelTunables": _YES_NO,
        "ProtectControlGroups": _YES_NO,
        "PrivateMounts": _YES_NO,
        "PrivateTmp": _YES_NO,
        "PrivateDevices": _YES_NO,
        "PrivateUsers": _YES_NO,
        "DevicePolicy": r"auto|closed|strict",
        "RemoveIPC": _YES_NO,
        "KeyringMode": r"inherit|private|shared",
        "LockPersonality": _YES_NO,
        "MemoryDenyWriteExecute": _YES_NO,
        "RestrictAddressFamilies": r"none|~?AF_[A-Z0-9]+( AF_[A-Z0-9]+)*",
        "RestrictNamespaces": _YES_NO,
        "RestrictRealtime": _YES_NO,
        "RestrictSUIDSGID": _YES_NO,
        "SystemCallArchitectures": r"native",
        "SystemCallFilter": _CALLS,
        "SystemCallErrorNumber": r"E[A-Z0-9]+",
    },
    "Install": {"WantedBy": _UNITS},
}
SEVERAL: Final = {"Environment", "LoadCredential", "SystemCallFilter"}
"""What may stand there more than once. Of others systemd takes the last, or adds them up."""

SANDBOX: Final = {
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "DevicePolicy": "closed",
    "KeyringMode": "private",
    "LimitCORE": "0",
    "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes",
    "NoNewPrivileges": "yes",
    "PrivateDevices": "yes",
    "PrivateMounts": "yes",
    "PrivateTmp": "yes",
    "PrivateUsers": "yes",
    "ProcSubset": "pid",
    "ProtectClock": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHome": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectProc": "invisible",
    "ProtectSystem": "strict",
    "RemoveIPC": "yes",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "StateDirectoryMode": "0700",
    "SystemCallArchitectures": "native",
    "SystemCallErrorNumber": "EPERM",
    "UMask": "0077",
}
"""What a service that needs the network, a directory of its own and nothing else is run with."""


@dataclass(frozen=True)
class Unit:
    """The directives of a unit by section and name, each with its values, and what is wrong."""

    sections: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def one(self, section: str, name: str) -> str:
        (value,) = self.sections[section][name]
        return value


def read(text: str) -> Unit:
    """Read a unit and check every line of it."""
    unit = Unit()
    section: dict[str, list[str]] | None = None
    known: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith(("#", ";")):
            continue
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = unit.sections.setdefault(header[1], {})
            known = GRAMMAR.get(header[1], {})
            if not known:
                unit.problems.append(f"line {number}: no section {header[1]}")
            continue
        name, equals, value = line.partition("=")
        if section is None or not equals or name != name.strip() or line.endswith("\\"):
            unit.problems.append(f"line {number}: not NAME=VALUE in a section, on one line")
        elif name not in known:
            unit.problems.append(f"line {number}: {name} is not known")
        elif not re.fullmatch(known[name], value):
            unit.problems.append(f"line {number}: {name}={value} is not written like that")
        elif name in section and name not in SEVERAL:
            unit.problems.append(f"line {number}: {name} stands there twice")
        else:
            section.setdefault(name, []).append(value)
    unit.problems.extend(_missing(unit))
    return unit


def _missing(unit: Unit) -> Iterator[str]:
    service = unit.sections.get("Service", {})
    for name in ("ExecStart", "User"):
        if name not in service:
            yield f"no {name}"
    if service.get("User") == ["root"]:
        yield "it runs as root"
    for name, value in SANDBOX.items():
        if service.get(name) != [value]:
            yield f"not {name}={value}"
    filters = service.get("SystemCallFilter", [])
    if filters[:1] != ["@system-service"] or "~@privileged" not in filters:
        yield "system calls are not filtered from @system-service down"
    if service.get("KillMode") != ["mixed"]:
        yield "not KillMode=mixed, so the workers are told before their parent"
