// oidc-provider with the issuer's job: client_credentials, JWT access tokens (ES256) for one resource.
// Announces its address on standard output.
// usage: node oidc-provider.mjs < CONFIGURATION
//   {"audience", "scope", "clients": [{"client_id", "client_secret" or "jwks"}]}
import { once } from "node:events";
import { createServer } from "node:http";
import { json } from "node:stream/consumers";
import { exportJWK, generateKeyPair } from "jose";
import { Provider } from "oidc-provider";

const { audience, scope, clients } = await json(process.stdin);
const server = createServer();
await once(server.listen(0, "127.0.0.1"), "listening");
const issuer = `http://127.0.0.1:${server.address().port}`;

const { privateKey } = await generateKeyPair("ES256", { extractable: true });
const signingKey = { ...(await exportJWK(privateKey)), alg: "ES256", use: "sig", kid: "es256-1" };
const provider = new Provider(issuer, {
  jwks: { keys: [signingKey] },
  clients: clients.map((client) => ({
    grant_types: ["client_credentials"],
    redirect_uris: [],
    response_types: [],
    id_token_signed_response_alg: "ES256",
    ...(client.jwks && { token_endpoint_auth_method: "private_key_jwt", token_endpoint_auth_signing_alg: "ES256" }),
    ...client,
  })),
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({
        scope,
        audience,
        accessTokenTTL: 120,
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: "ES256" } },
      }),
    },
  },
});
server.on("request", provider.callback());
console.log(`oidc-provider: serving (listening on ${issuer})`);
