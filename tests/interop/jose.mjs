// Verifies the token on standard input with jose, as an API written in JavaScript would.
// usage: node jose.mjs JWKS_URL ISSUER AUDIENCE ALGORITHM
import { readFileSync } from "node:fs";
import { createRemoteJWKSet, jwtVerify } from "jose";

const [jwksUrl, issuer, audience, algorithm] = process.argv.slice(2);
const { payload, protectedHeader } = await jwtVerify(
  readFileSync(0, "utf8").trim(),
  createRemoteJWKSet(new URL(jwksUrl)),
  { issuer, audience, algorithms: [algorithm], typ: "at+jwt" },
);
console.log(JSON.stringify({ payload, protectedHeader }));
