// Gets a token with private_key_jwt through discovery with openid-client and prints the response.
// usage: node openid-client.mjs ISSUER CLIENT_ID AUDIENCE SCOPE ALGORITHM < private-jwk.json
import { readFileSync } from "node:fs";
import { importJWK } from "jose";
import * as client from "openid-client";

const [issuer, clientId, audience, scope, algorithm] = process.argv.slice(2);
const jwk = JSON.parse(readFileSync(0, "utf8"));
const key = await importJWK(jwk, algorithm);

const configuration = await client.discovery(
  new URL(issuer),
  clientId,
  undefined,
  client.PrivateKeyJwt({ key, kid: jwk.kid }),
  { algorithm: "oauth2", execute: [client.allowInsecureRequests] },
);
const tokens = await client.clientCredentialsGrant(configuration, { resource: audience, scope });
console.log(JSON.stringify(tokens));
