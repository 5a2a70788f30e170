import pytest
from hypothesis import given
from hypothesis import strategies as st

from ephemera_client import Claim
from ephemera_client.replay import Purpose

Parts = tuple[Purpose, str, str, str]
PURPOSES: list[Purpose] = ["token", "assertion", "dpop", "federated"]
PARTS = st.tuples(
    st.sampled_from(PURPOSES),
    st.text(max_size=5),
    st.text(max_size=5),
    st.text(max_size=5),
)


@given(PARTS, PARTS)
def test_two_claims_have_one_key_only_if_they_are_of_one_token(one: Parts, two: Parts) -> None:
    assert (Claim(*one, 1, 2).key == Claim(*two, 3, 4).key) == (one == two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (("a", "bc", "d"), ("ab", "c", "d")),
        (("", "a", "b"), ("a", "", "b")),
        (("1:a", "b", "c"), ("1", "a1:b", "c")),
        (("a", "b", "1:c"), ("a", "b1", ":c")),
    ],
)
def test_parts_do_not_run_into_each_other(
    one: tuple[str, str, str], two: tuple[str, str, str]
) -> None:
    assert Claim("token", *one, 0, 1).key != Claim("token", *two, 0, 1).key


def test_a_key_is_16_bytes_whatever_the_length() -> None:
    assert len(Claim("token", "i" * 9999, "s", "j" * 9999, 0, 1).key) == 16
