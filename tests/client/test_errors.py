import copy
import pickle

import pytest

from ephemera_client import errors


def _all(root: type[errors.EphemeraError]) -> list[type[errors.EphemeraError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _all(child))]


@pytest.mark.parametrize("kind", _all(errors.EphemeraError), ids=lambda kind: kind.__name__)
def test_every_error_is_made_of_one_sentence_and_survives_a_pickle(
    kind: type[errors.EphemeraError],
) -> None:
    error = kind("why")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(again), str(again), vars(again)) == (kind, "why", vars(error))
    assert str(copy.copy(error)) == "why"


def test_codes_are_snake_case_and_each_class_has_its_own() -> None:
    codes = [kind.code for kind in _all(errors.EphemeraError)]
    assert len(set(codes)) == len(codes)
    assert all(code.replace("_", "").isalpha() and code.islower() for code in codes)


def test_the_status_tells_refusals_from_outages() -> None:
    refusals = {kind: kind.status for kind in _all(errors.TokenRefused) if hasattr(kind, "status")}
    assert refusals.pop(errors.InsufficientScope) == 403
    assert set(refusals.values()) == {401}
    assert errors.KeysUnavailable.status == errors.ReplayCacheUnavailable.status == 503
    assert errors.RequestMalformed.status == 400


def test_what_cannot_be_known_is_never_a_refusal() -> None:
    for kind in (errors.KeysUnavailable, errors.ReplayCacheUnavailable, errors.ConfigurationError):
        assert not issubclass(kind, errors.TokenRefused)
