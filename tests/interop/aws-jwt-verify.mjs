// Verifies the token on standard input with aws-jwt-verify and prints its claims.
// usage: node aws-jwt-verify.mjs JWKS_URL ISSUER AUDIENCE
import { readFileSync } from "node:fs";
import { JwtVerifier } from "aws-jwt-verify";

const [jwksUrl, issuer, audience] = process.argv.slice(2);
const verifier = JwtVerifier.create({ issuer, audience, jwksUri: "https://unused.invalid/jwks" });
// It fetches over https only; on loopback the live document is handed to it.
verifier.cacheJwks(await fetch(jwksUrl).then((response) => response.json()));
console.log(JSON.stringify(await verifier.verify(readFileSync(0, "utf8").trim())));
