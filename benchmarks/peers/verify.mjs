// Verifies tokens with the libraries of JavaScript, as their documentation shows it.
// Says {"ready": {name: version}}, then answers each line {"variant", "tokens"} on standard input
// with {"microseconds"} of processor time, all threads counted.
// usage: node verify.mjs JWKS_URL ISSUER AUDIENCE ALGORITHM
import { createPublicKey, verify as verifySignature } from "node:crypto";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { JwtVerifier } from "aws-jwt-verify";
import { createVerifier } from "fast-jwt";
import { createLocalJWKSet, createRemoteJWKSet, jwtVerify } from "jose";

const [jwksUrl, issuer, audience, algorithm] = process.argv.slice(2);
const jwks = await fetch(jwksUrl).then((response) => response.json());
const expected = { issuer, audience, algorithms: [algorithm], typ: "at+jwt" };

const remote = createRemoteJWKSet(new URL(jwksUrl));
const local = createLocalJWKSet(jwks);
const aws = JwtVerifier.create({ issuer, audience, jwksUri: "https://unused.invalid/jwks" });
// It fetches over https only; on loopback the live document is handed to it.
aws.cacheJwks(jwks);
const publicKey = createPublicKey({ key: jwks.keys[0], format: "jwk" });
const fast = createVerifier({
  key: publicKey.export({ format: "pem", type: "spki" }),
  algorithms: [algorithm],
  allowedIss: issuer,
  allowedAud: audience,
  cache: false,
});

const variants = {
  bare: (token) => {
    const end = token.lastIndexOf(".");
    const signature = Buffer.from(token.slice(end + 1), "base64url");
    const key = { key: publicKey, dsaEncoding: "ieee-p1363" };
    if (!verifySignature("sha256", Buffer.from(token.slice(0, end)), key, signature)) throw new Error("refused");
  },
  "jose": (token) => jwtVerify(token, local, expected),
  "jose, JWKS fetched": (token) => jwtVerify(token, remote, expected),
  "fast-jwt": (token) => fast(token),
  "aws-jwt-verify": (token) => aws.verify(token),
};

const manifest = createRequire(import.meta.url);
const version = (name) => manifest(`./node_modules/${name}/package.json`).version;
const versions = Object.fromEntries(["jose", "fast-jwt", "aws-jwt-verify"].map((name) => [name, version(name)]));
console.log(JSON.stringify({ ready: { ...versions, node: process.versions.node } }));
for await (const line of createInterface({ input: process.stdin })) {
  const { variant, tokens } = JSON.parse(line);
  const verify = variants[variant];
  const before = process.cpuUsage();
  for (const token of tokens) await verify(token);
  const { user, system } = process.cpuUsage(before);
  console.log(JSON.stringify({ microseconds: user + system }));
}
