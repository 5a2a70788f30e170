// Gets a token with private_key_jwt through discovery with oauth4webapi and prints the response.
// usage: node oauth4webapi.mjs ISSUER CLIENT_ID AUDIENCE SCOPE ALGORITHM < private-jwk.json
import { readFileSync } from "node:fs";
import { importJWK } from "jose";
import * as oauth from "oauth4webapi";

const [issuer, clientId, audience, scope, algorithm] = process.argv.slice(2);
const jwk = JSON.parse(readFileSync(0, "utf8"));
const key = await importJWK(jwk, algorithm);
// It writes the name of RFC 9864, Ed25519, where RFC 8037 says EdDSA.
const named = { [oauth.modifyAssertion]: (header) => (header.alg = algorithm) };
const insecure = { [oauth.allowInsecureRequests]: true };

const server = await oauth
  .discoveryRequest(new URL(issuer), { algorithm: "oauth2", ...insecure })
  .then((response) => oauth.processDiscoveryResponse(new URL(issuer), response));
const client = { client_id: clientId };
const response = await oauth.clientCredentialsGrantRequest(
  server,
  client,
  oauth.PrivateKeyJwt({ key, kid: jwk.kid }, named),
  { resource: audience, scope },
  insecure,
);
console.log(JSON.stringify(await oauth.processClientCredentialsResponse(server, client, response)));
