"""The whole set, by the class of attack."""

from attacks.forgeries import (
    algorithms,
    base64_malleability,
    character_encodings,
    claim_types,
    extensions,
    json_malleability,
    key_sources,
    kids,
    lifetimes,
    serialisations,
    signatures,
    sizes_and_depth,
    token_types,
)
from attacks.forging import Forgery

FORGERIES: dict[str, list[Forgery]] = {
    module.__name__.rpartition(".")[2]: module.FORGERIES
    for module in (
        algorithms,
        signatures,
        key_sources,
        extensions,
        kids,
        base64_malleability,
        json_malleability,
        character_encodings,
        claim_types,
        lifetimes,
        token_types,
        serialisations,
        sizes_and_depth,
    )
}
