// An issuer that is not ours: oidc-provider with JWT access tokens for one resource.
// Announces its address on standard output and ends when standard input does.
// usage: node oidc-provider.mjs AUDIENCE SCOPE CLIENT_ID CLIENT_SECRET
import { once } from "node:events";
import { createServer } from "node:http";
import { exportJWK, generateKeyPair } from "jose";
import { Provider } from "oidc-provider";

const [audience, scope, client_id, client_secret] = process.argv.slice(2);
const server = createServer();
await once(server.listen(0, "127.0.0.1"), "listening");
const issuer = `http://127.0.0.1:${server.address().port}`;

const { privateKey } = await generateKeyPair("ES256", { extractable: true });
const signingKey = { ...(await exportJWK(privateKey)), alg: "ES256", use: "sig", kid: "es256-1" };
const provider = new Provider(issuer, {
  jwks: { keys: [signingKey] },
  clients: [
    {
      client_id,
      client_secret,
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
      id_token_signed_response_alg: "ES256",
    },
  ],
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
process.stdin.resume().on("end", () => process.exit(0));
