"""The Ephemera token service and the `ephemera` command."""
