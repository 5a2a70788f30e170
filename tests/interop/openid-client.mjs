// Gets a token with private_key_jwt through discovery with openid-client and prints the response.
// usage: node openid-client.mjs ISSUER CLIENT_ID AUDIENCE SCOPE ALGORITHM < private-jwk.json
import { readFileSync } from "node:fs";
import { importJWK } from "jose";
import * as client from "openid-client";

const [issuer, clientId, audience, scope, algorithm] = process.argv.slice(2);
const jwk = JSON.parse(readFileSync(0, "utf8"));
const key = await importJWK(jwk, algorithm);
// It writes the name of RFC 9864, Ed25519, where RFC 8037 says EdDSA.
const named = { [client.modifyAssertion]: (header) => (header.alg = algorithm) };

const configuration = await client.discovery(
  new URL(issuer),
  clientId,
  undefined,
  client.PrivateKeyJwt({ key, kid: jwk.kid }, named),
  { algorithm: "oauth2", execute: [client.allowInsecureRequests] },
);
const tokens = await client.clientCredentialsGrant(configuration, { resource: audience, scope });
console.log(JSON.stringify(tokens));
