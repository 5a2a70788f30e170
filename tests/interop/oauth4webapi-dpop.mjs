// Gets a token bound to a new key with oauth4webapi, and calls an API with it as often as told.
// usage: node oauth4webapi-dpop.mjs ISSUER CLIENT_ID AUDIENCE SCOPE ALGORITHM API_URL CALLS < secret
import { readFileSync } from "node:fs";
import * as oauth from "oauth4webapi";

const [issuer, clientId, audience, scope, algorithm, apiUrl, calls] = process.argv.slice(2);
const insecure = { [oauth.allowInsecureRequests]: true };
const client = { client_id: clientId };
const DPoP = oauth.DPoP(client, await oauth.generateKeyPair(algorithm));
const nonces = { issuer: 0, api: 0 };

// Once more with the nonce that the refusal brought, which the handle of the key has kept.
async function withNonce(who, attempt) {
  try {
    return await attempt();
  } catch (error) {
    if (!oauth.isDPoPNonceError(error)) throw error;
    nonces[who] += 1;
    return await attempt();
  }
}

const server = await oauth
  .discoveryRequest(new URL(issuer), { algorithm: "oauth2", ...insecure })
  .then((response) => oauth.processDiscoveryResponse(new URL(issuer), response));
const authentication = oauth.ClientSecretBasic(readFileSync(0, "utf8").trim());

async function token() {
  const parameters = { resource: audience, scope };
  const response = await oauth.clientCredentialsGrantRequest(
    server,
    client,
    authentication,
    parameters,
    { DPoP, ...insecure },
  );
  return oauth.processClientCredentialsResponse(server, client, response);
}

const answers = [];
let granted;
for (let call = 0; call < Number(calls); call += 1) {
  granted = await withNonce("issuer", token);
  const answer = await withNonce("api", () =>
    oauth.protectedResourceRequest(
      granted.access_token,
      "GET",
      new URL(apiUrl),
      undefined,
      undefined,
      { DPoP, ...insecure },
    ),
  );
  answers.push({ status: answer.status, body: await answer.json() });
}
console.log(JSON.stringify({ token_type: granted.token_type, scope: granted.scope, answers, nonces }));
