import inspect
import pickle

import pytest

import ephemera_keys
from ephemera_keys import KeysError, RotationRefused, SealBroken, UnknownKid, errors


def test_every_error_is_of_the_one_tree_and_public() -> None:
    tree = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if kind.__module__ == errors.__name__
    ]
    assert all(issubclass(kind, KeysError) for kind in tree)
    assert {kind.__name__ for kind in tree} <= set(ephemera_keys.__all__)


def test_the_tree_is_drawn_as_it_is() -> None:
    drawn = errors.__doc__ or ""
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if kind.__module__ == errors.__name__:
            assert name in drawn


@pytest.mark.parametrize(
    "error",
    [
        RotationRefused(1900.5),
        UnknownKid("a", ("b", "c")),
        SealBroken("reason", "0123456789abcdef", ("fedcba9876543210",)),
    ],
)
def test_an_error_crosses_a_process_boundary_whole(error: KeysError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own pickle
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_every_public_name_is_there() -> None:
    assert all(hasattr(ephemera_keys, name) for name in ephemera_keys.__all__)
    assert ephemera_keys.__all__ == sorted(ephemera_keys.__all__)
