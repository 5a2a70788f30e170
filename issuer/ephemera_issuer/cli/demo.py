"""`ephemera demo`: the main job, step by step, on real processes."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from ephemera_client import ClientSecret, TokenClient
from ephemera_issuer.cli import output
from ephemera_issuer.demo import story
from ephemera_issuer.demo.process import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console


def demo() -> None:
    """Run an issuer, a calling service and an API on loopback, and show what a token is good for.

    Ends with status 0 only if every step did what it says. Nothing is left running or on disk.
    """
    console = output.console()
    for number, step in enumerate(_steps(console), 1):
        console.print(f"\n[bold green]✓[/] [bold]{number}. {escape(step.title)}[/]")
        for line in step.seen.splitlines():
            console.print(f"    [dim]{escape(line)}[/]")
    console.print("\n[bold green]Every step did what it says.[/] Nothing is left running.")


def _steps(console: Console) -> Iterator[story.Step]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ephemera-demo-")))
        registry, secrets = folder / "registry.toml", folder / "secrets"
        registry.write_text(story.REGISTRY)
        environment = story.environment(folder)

        def start(name: str, *arguments: str) -> str:
            service = Service(name, arguments, environment=environment)
            return stack.enter_context(service).url

        story.run_command("apply", str(registry), f"--secrets-dir={secrets}", env=environment)
        issuer = start("issuer", "ephemera_issuer", "serve")
        to_issuer, to_billing = f"--issuer={issuer}", f"--audience={story.BILLING}"
        billing = start("billing", "ephemera_issuer.demo.billing", to_issuer, to_billing)
        secret_file = secrets / "orders.secret"
        orders = start(
            "orders",
            "ephemera_issuer.demo.orders",
            to_issuer,
            to_billing,
            f"--secret-file={secret_file}",
            f"--billing={billing}",
        )
        console.print(f"issuer   {issuer}\nbilling  {billing}\norders   {orders}")
        credential = ClientSecret.from_file(secret_file)
        tokens = stack.enter_context(TokenClient(issuer, client_id="orders", credential=credential))
        yield from story.tell(story.Stage(issuer, billing, orders, environment), tokens)
