"""JSON that two readers read differently."""

import json

import pytest
from attacks.forging import Forge, instead, with_claims_bytes
from client.fixtures_verifying import verifier_of
from hypothesis import given
from hypothesis import strategies as st

from ephemera_client import TokenMalformed
from ephemera_client.compact import strict_json


def test_the_text_of_the_error_quotes_nothing() -> None:
    token = with_claims_bytes(instead(b'{"password": hunter2}'))(Forge())
    with pytest.raises(TokenMalformed) as caught:
        verifier_of().verify(token)
    assert "hunter2" not in repr(caught.value)


@pytest.mark.parametrize(
    "text", [b'{"a":1,"a":1}', b'[{"b":{"a":1,"a":2}}]', b'{"a":1,"\\u0061":1}']
)
def test_duplicates_are_found_at_any_depth_and_in_any_spelling(text: bytes) -> None:
    with pytest.raises(ValueError, match="twice"):
        strict_json(text)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", ",", '","', "{", "[", ":"]),
            st.sampled_from([1, None, "", ",", "}", '{"a":', "]", "\\", {"a": 1}, {}, [1, 2], []]),
        ),
        max_size=5,
    )
)
def test_an_object_is_read_where_no_member_comes_twice_and_nowhere_else(
    members: list[tuple[str, object]],
) -> None:
    text = ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in members)
    data = f"{{{text}}}".encode()
    if len(dict(members)) == len(members):
        assert strict_json(data) == dict(members)
    else:
        with pytest.raises(ValueError, match="twice"):
            strict_json(data)
