"""Proof of possession (RFC 9449): a token bound to a key, and a proof by that key for each call.

`DPoPKey` is the caller's key, `DPoP` what an API's verifier demands, `Presented` how a token came
in. What a proof must be is checked in `proof`, the same for issuers and APIs.
"""
