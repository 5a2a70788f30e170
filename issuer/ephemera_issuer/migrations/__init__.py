"""Alembic's environment; its revisions are in `versions`, one file each."""
