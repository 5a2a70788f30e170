"""Tokens for gRPC: interceptors for servers, call credentials for callers (extra `grpc`)."""

from ephemera_client.grpc.credentials import async_token_credentials, token_credentials
from ephemera_client.grpc.rpc import access_token
from ephemera_client.grpc.server import AsyncRequireToken, RequireToken

__all__ = [
    "AsyncRequireToken",
    "RequireToken",
    "access_token",
    "async_token_credentials",
    "token_credentials",
]
