"""Half of full load for a long time, and an issuer that is held to its own account afterwards.

`make endurance`: every answer is the one expected, metrics and audit say what the callers have
counted, the audit's chain is whole, and the workers need no more memory at the end than before.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from statistics import fmean, linear_regression
from typing import TYPE_CHECKING, Any, NamedTuple

from system.deployment import Deployment, eventually, workers_of
from system.observing import metrics
from system.pacing import REGISTRY, Callee, Callers, sample

from ephemera_issuer.audit.opening import opened_source
from ephemera_issuer.audit.search import Wanted, search
from ephemera_issuer.metrics.families import NONE
from ephemera_issuer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from issuer.fixtures_observing import Samples
    from system.pacing import Called, Sample

    from ephemera_issuer.demo.process import Service

WORKERS = 2
SHARE = 0.5
"""Of full load."""
_READY_WITHIN = 0.5
_SAMPLES = 200
"""At least; and one a second."""
_PRINTED = 20
_ENOUGH = "1000000000"
"""No request of this load is one too many."""
_COUNTED = frozenset(
    {
        "ephemera_mints_total",
        "ephemera_minted_tokens_total",
        "ephemera_refusals_total",
        "ephemera_http_responses_total",
        "ephemera_token_request_duration_seconds_count",
        "ephemera_assertion_claims_total",
        "ephemera_worker_deaths_total",
    }
)
_RECORDED = frozenset(
    {"ephemera_mints_total", "ephemera_minted_tokens_total", "ephemera_refusals_total"}
)
_WARM_UP = 0.25
"""Of the whole time: caches fill, and Python's heap gets as large as the busiest moment needs."""
_MEMORY_SHARE = 0.03
_MEMORY_SLACK = 2 << 20
"""Python takes memory from the system by the MiB: one more or less is no leak.

At 1000 requests a second to two workers, ten bytes kept of each are more than both in half an hour.
"""


class Memory(NamedTuple):
    """What a process had resident, as `ps` says, in bytes, at moments in seconds."""

    moments: list[float]
    resident: list[int]

    @property
    def grown(self) -> float:
        """Bytes that it grew by from the warm-up on: those of a line laid through all samples."""
        first = int(len(self.moments) * _WARM_UP)
        moments, resident = self.moments[first:], self.resident[first:]
        return linear_regression(moments, resident).slope * (moments[-1] - moments[0])

    @property
    def allowed(self) -> float:
        """Bytes by which it may."""
        return fmean(self.resident) * _MEMORY_SHARE + _MEMORY_SLACK

    @property
    def swollen(self) -> bool:
        """Whether it grew by more."""
        return self.grown > self.allowed


class Endured(NamedTuple):
    """What was sent, and what the issuer says of it."""

    seconds: float
    full: float
    """Requests a second, when nobody paused."""
    rate: float
    """Requests a second of the long load."""
    called: Called
    told: dict[Sample, float]
    """By the metrics, at the end."""
    recorded: dict[Sample, float]
    """In the audit, in the metrics' words."""
    verified: dict[str, Any]
    """What `ephemera audit verify --json` says."""
    memory: dict[int, Memory]
    """Of each process: the parent and all workers that there were."""
    status: int
    output: str

    @property
    def failures(self) -> list[str]:
        """What is not as it must be, but for memory."""
        counted = dict(self.called.counted)
        in_audit = {key: number for key, number in counted.items() if key[0] in _RECORDED}
        return [
            *(f"unexpected answer: {what}" for what in self.called.unexpected),
            *_differences("metrics", self.told, counted),
            *_differences("audit", self.recorded, in_audit),
            *(["the audit is not whole"] if not self.verified["whole"] else []),
            *(["a worker was replaced"] if len(self.memory) != 1 + WORKERS else []),
            *([f"the issuer ended with {self.status}"] if self.status else []),
            *(
                f"it logged: {line.rstrip()}"
                for line in self.output.splitlines()
                if "Traceback" in line or re.search(r'"level": "(warning|error|critical)"', line)
            ),
        ]

    @property
    def swollen(self) -> list[str]:
        """Which processes grew by more than they may."""
        return [
            f"process {pid} grew by {memory.grown / 2**20:.2f} MiB"
            for pid, memory in self.memory.items()
            if memory.swollen
        ]


def endure(folder: Path, seconds: float, *, full_for: float = 2.0) -> Endured:
    """Run an issuer with an audit in a folder, under half of full load for so long.

    What full load is, is measured before, for the seconds of `full_for`.
    """
    deployment = Deployment(
        folder,
        registry=REGISTRY,
        EPHEMERA_AUDIT=f"file:{folder / 'audit'}",
        EPHEMERA_ROTATE_EVERY="15m",
        EPHEMERA_TOKENS_PER_SECOND=_ENOUGH,
        EPHEMERA_TOKENS_BURST=_ENOUGH,
        EPHEMERA_REQUESTS_PER_SECOND=_ENOUGH,
        EPHEMERA_FAILURES_PER_SECOND=_ENOUGH,
    )
    memory: dict[int, Memory] = {}
    with deployment.start("--workers", str(WORKERS)) as service:
        callee = Callee(service.url, deployment.secret, folder / "orders.pem")
        with Callers(callee) as callers:
            callers.call(_READY_WITHIN)
            full = callers.call(full_for)
            rate = callers.call(
                seconds,
                pace=full * SHARE,
                every=min(seconds / _SAMPLES, 1),
                look=lambda: _weigh(service, memory),
            )
        called = callers.called
        told = _told(service, called)
        status = service.stop()
    return Endured(
        seconds,
        full,
        rate,
        called,
        told,
        _recorded(deployment),
        _verified(deployment),
        memory,
        status,
        "".join(service.output),
    )


def _weigh(service: Service, memory: dict[int, Memory]) -> None:
    now = time.monotonic()
    for pid in (service.process.pid, *workers_of(service)):
        # Everybody may read this; smaps only root may, for the issuer lets nobody look into it.
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        found = re.search(r"^VmRSS:\s+([0-9]+) kB", status, re.MULTILINE)
        if found is not None:
            held = memory.setdefault(pid, Memory([], []))
            held.moments.append(now)
            held.resident.append(int(found[1]) * 1024)


def _told(service: Service, called: Called) -> dict[Sample, float]:
    def now() -> dict[Sample, float]:
        return _of_callers(metrics(service))

    # An answer is counted once it is sent, and its caller may be quicker than that.
    with suppress(AssertionError):  # a difference is told later
        eventually(lambda: now() == dict(called.counted), "they differ", tries=100)
    return now()


def _of_callers(found: Samples) -> dict[Sample, float]:
    """What is counted of the public listener, without what never happened."""
    return {
        (name, labels): number
        for (name, labels), number in found.items()
        if name in _COUNTED and number and ("listener", "private") not in labels
    }


def _recorded(deployment: Deployment) -> dict[Sample, float]:
    counted: Counter[Sample] = Counter()
    settings = Settings(audit=deployment.environment["EPHEMERA_AUDIT"])
    with opened_source(settings) as source:
        for found in search(source, Wanted()):
            members = found.members
            of = {name: members.get(name) or NONE for name in ("client", "audience")}
            match members["kind"]:
                case "minted":
                    counted[sample("ephemera_mints_total", **of)] += 1
                    counted[sample("ephemera_minted_tokens_total", **of)] += len(members["jti"])
                case "refused":
                    reason = members["reason"]
                    counted[sample("ephemera_refusals_total", reason=reason, **of)] += 1
    return dict(counted)


def _verified(deployment: Deployment) -> dict[str, Any]:
    try:
        written = deployment.run("ephemera_issuer", "audit", "verify", "--json")
    except subprocess.CalledProcessError as error:
        written = error.stdout
    found: dict[str, Any] = json.loads(written)
    return found


def _differences(
    who: str, told: Mapping[Sample, float], counted: Mapping[Sample, float]
) -> list[str]:
    return [
        f"{who}: {_written(key)} is {told.get(key, 0):.0f}, counted were {counted.get(key, 0):.0f}"
        for key in told.keys() | counted.keys()
        if told.get(key, 0) != counted.get(key, 0)
    ]


def _written(key: Sample) -> str:
    name, labels = key
    return f"{name} {dict(sorted(labels))}"


def main() -> None:
    """Endure for so many minutes, and print what came of it."""
    say = print
    with tempfile.TemporaryDirectory() as name:
        endured = endure(Path(name), float(sys.argv[1]) * 60)
    called = endured.called
    tokens = sum(n for key, n in called.counted.items() if key[0] == "ephemera_minted_tokens_total")
    say(
        f"{called.requests:,} requests in {endured.seconds:.0f} s, {tokens:,} tokens: "
        f"{endured.rate:,.0f} requests a second, of {endured.full:,.0f} at full load"
    )
    for line in sorted(f"{_written(key)}: {n:,}" for key, n in called.counted.items()):
        say(f"  {line}")
    say(f"audit: {endured.verified['records']:,} records, whole: {endured.verified['whole']}")
    for pid, memory in endured.memory.items():
        first, last = (fmean(part) / 2**20 for part in (memory.resident[:3], memory.resident[-3:]))
        say(
            f"process {pid}: {first:.1f} MiB at first, {last:.1f} MiB at last; by "
            f"{memory.grown / 2**20:+.2f} MiB from the warm-up on, {memory.allowed / 2**20:.2f} "
            f"allowed; {len(memory.moments)} samples"
        )
        part = max(len(memory.resident) // _PRINTED, 1)
        say("  MiB: " + " ".join(f"{held / 2**20:.1f}" for held in memory.resident[::part]))
    failures = [*endured.failures, *endured.swollen]
    for failure in failures:
        say(failure)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
