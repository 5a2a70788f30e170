"""A service that calls an API, once a second."""

import os
import time

import httpx

from ephemera_client import ClientSecret, Target, TokenClient

BILLING = os.environ["BILLING_URL"]

tokens = TokenClient(
    os.environ["EPHEMERA_CLIENT_ISSUER"],
    client_id=os.environ["EPHEMERA_CLIENT_ID"],
    credential=ClientSecret.from_file(os.environ["EPHEMERA_CLIENT_SECRET_FILE"]),
)
targets = {BILLING: Target("https://billing.internal", {"invoices:read"})}
with httpx.Client(transport=tokens.transport(targets), base_url=BILLING) as billing:
    while True:
        print(billing.get("/invoice").raise_for_status().text, flush=True)
        time.sleep(1)
