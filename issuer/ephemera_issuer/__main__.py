"""`python -m ephemera_issuer` is the `ephemera` command."""

from ephemera_issuer.cli import main

main()
