"""Keys that nobody holds, verified with where there is none to verify with.

Their private halves were never kept. What they say is not believed either: they are here to cost
what a real key of their algorithm costs.
"""

from __future__ import annotations

from ephemera_client import jwk

KEYS = {
    members["alg"]: jwk.parse(members | {"kid": "decoy"})
    for members in (
        {
            "alg": "ES256",
            "kty": "EC",
            "crv": "P-256",
            "x": "VdsV6W4gKjAVuxEYVt09KZWyBHvHXw6X3vwOQZbcLgU",
            "y": "P5aE2mdjM6tilWdoNLZvflvW8MIjHYrHFLqk1pHgAIo",
        },
        {
            "alg": "EdDSA",
            "kty": "OKP",
            "crv": "Ed25519",
            "x": "U9jhQh_6txHESk3wGmOpCCfZtf-1V4Hr22SxqeNQYRA",
        },
        {
            "alg": "RS256",
            "kty": "RSA",
            "n": "tn8QBrOcN3oYu5kxhkJf0ms9-Nvix4GcRXLgE5T2ZEi6KWRcQaCWqkYw8tidGudwkFD_n9gmttqTsrZB"
            "zBpdOQkQ-MrU055_Qje4MKo5uSw1Fr5XxirRAXlb-j4uwVSALmuTVPTXv02HJagCzicc5GrWkP0gFS8ooqHa"
            "j-bENUvQXD3dcOAmZkZ2iNJK6tJ7l6mOQQdPmb79a_Mk_apg1KCIXfT1UH34m52jQpx_gPttu8fctzBUJUyM"
            "f7fjDLqXqKZZBko1JYkT_rnMMVK7IDXYqie5Q2esh6NxHXbL818f8e5NSuSkwTcJhEnZ1CG11OWSBNvTfRzr"
            "BFq6uKtTRQ",
            "e": "AQAB",
        },
    )
}
"""By algorithm."""
