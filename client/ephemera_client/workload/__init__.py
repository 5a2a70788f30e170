"""Workload identity: a token of the platform in place of a secret (RFC 7523 §3)."""

from ephemera_client.workload.credential import IdentitySource, WorkloadIdentity
from ephemera_client.workload.github import GitHubActions
from ephemera_client.workload.spire import SpireAgent
from ephemera_client.workload.written import TokenFile, TokenVariable

__all__ = [
    "GitHubActions",
    "IdentitySource",
    "SpireAgent",
    "TokenFile",
    "TokenVariable",
    "WorkloadIdentity",
]
