"""Call credentials that put a fresh token on each RPC, and on each attempt of it.

gRPC takes them to secure channels only. It asks them in a thread of its own.
"""

import asyncio
from concurrent.futures import Future
from functools import partial

import grpc

from ephemera_client import token_request
from ephemera_client.errors import ConfigurationError, EphemeraError
from ephemera_client.token_request import IssuedToken
from ephemera_client.transport import AsyncTokens, Target, Tokens


def token_credentials(tokens: Tokens, target: Target) -> grpc.CallCredentials:
    """Return credentials for one API, to be composed with those of its channel.

    An RPC for which there is no token ends as UNAVAILABLE, and its details say why.

    Args:
        tokens: a `TokenClient`.
        target: the API's audience, and the scopes to ask for.

    Raises:
        ConfigurationError: the target is none that a token can be asked for, or the tokens are
            bound to a key.
    """
    return grpc.metadata_call_credentials(_Plugin(tokens, target))


def async_token_credentials(tokens: AsyncTokens, target: Target) -> grpc.CallCredentials:
    """Do as `token_credentials` for `grpc.aio`, with an `AsyncTokenClient` and in its event loop.

    Raises:
        ConfigurationError: the target is none that a token can be asked for, or the tokens are
            bound to a key.
        RuntimeError: no event loop is running.
    """
    return grpc.metadata_call_credentials(_AsyncPlugin(tokens, target))


class _Plugin(grpc.AuthMetadataPlugin):
    def __init__(self, tokens: Tokens, target: Target) -> None:
        _check(tokens, target)
        self._tokens = tokens
        self._target = target

    def __call__(
        self, context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback
    ) -> None:
        del context
        try:
            token = self._tokens.get(self._target.audience, scopes=self._target.scopes)
        except Exception as error:  # noqa: BLE001 - gRPC would log it and its traceback
            callback((), _told(error))
        else:
            callback(_metadata(token), None)


class _AsyncPlugin(grpc.AuthMetadataPlugin):
    def __init__(self, tokens: AsyncTokens, target: Target) -> None:
        _check(tokens, target)
        self._tokens = tokens
        self._target = target
        self._loop = asyncio.get_running_loop()

    def __call__(
        self, context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback
    ) -> None:
        del context
        asyncio.run_coroutine_threadsafe(self._get(), self._loop).add_done_callback(
            partial(_tell, callback)
        )

    async def _get(self) -> IssuedToken:
        return await self._tokens.get(self._target.audience, scopes=self._target.scopes)


def _check(tokens: object, target: Target) -> None:
    token_request.want(target.audience, target.scopes, None)
    if getattr(tokens, "bound", False):
        raise ConfigurationError(
            "tokens bound to a key (dpop=) are shown with a proof of an HTTP request: "
            "gRPC has no way to carry one"
        )


def _tell(callback: grpc.AuthMetadataPluginCallback, asked: Future[IssuedToken]) -> None:
    if asked.cancelled():
        callback((), RuntimeError("the event loop ended"))
        return
    error = asked.exception()
    if error is None:
        callback(_metadata(asked.result()), None)
    else:
        callback((), _told(error))


def _metadata(token: IssuedToken) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def _told(error: BaseException) -> Exception:
    # It becomes the text of a status. Errors of ours hold no secret; of others, who knows.
    return error if isinstance(error, EphemeraError) else RuntimeError(type(error).__name__)
