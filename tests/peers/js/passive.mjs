// Follows passive-client vectors with ts-mls: `node passive.mjs FILE` prints a line of JSON for each case, and
// exits with 1 unless it followed all of them.
//
// The format is the working group's: the first member's view of a group that others made, as the messages it
// gets and the epoch authenticator it must come to after each. The library is loaded as main.mjs loads it, and
// commits go the same way through member.mjs.

import { readFileSync } from "node:fs";
import { register } from "node:module";
import { parseArgs } from "node:util";

const { positionals } = parseArgs({ allowPositionals: true });
if (positionals.length !== 1) throw new Error("usage: node passive.mjs FILE");

// Hooks see only what is loaded after they were registered, so the rest is imported from here.
register("./corrections.mjs", import.meta.url);
const g = await import("./groups.mjs");
const mls = await import("./library.mjs");
const { applyCommit } = await import("./member.mjs");

// A vector is read at any time, and names no time at which it was made.
const CONFIG = { ...g.CONFIG, lifetimeConfig: { ...g.CONFIG.lifetimeConfig, validateLifetimeOnReceive: false } };

// Vectors have scalars without leading zeros in suite 5, which the library fills up for HPKE alone.
const SCALAR_SIZES = { 2: 32, 5: 66, 7: 48 };

function unhex(text, what) {
  if (typeof text !== "string" || !/^([0-9a-f]{2})*$/i.test(text)) throw new Error(`${what} is not hexadecimal`);
  return Buffer.from(text, "hex");
}

function filled(key, size = key.length) {
  return Buffer.concat([Buffer.alloc(Math.max(0, size - key.length)), key]);
}

function same(authenticator, text, what) {
  if (!unhex(text, what).equals(authenticator))
    throw new Error(`${what}: expected ${text}, got ${Buffer.from(authenticator).toString("hex")}`);
}

/** Refuse a private key that does not belong to the public one. */
async function checkPair(cs, publicKey, privateKey, what) {
  const text = Buffer.from(what);
  const { hpke } = cs;
  const { enc, ct } = await hpke.seal(await hpke.importPublicKey(publicKey), text, new Uint8Array());
  const opened = await hpke
    .open(await hpke.importPrivateKey(privateKey), enc, ct, new Uint8Array())
    .catch(() => undefined);
  if (opened === undefined || !text.equals(opened)) throw new Error(`${what} is not the public key's`);
}

/** The listener's KeyPackage and its private keys, all of which are held against each other. */
async function readPackages(cs, vector) {
  const publicPackage = g.readKeyPackage(unhex(vector.key_package, "key_package"));
  if (publicPackage.cipherSuite !== cs.name) throw new Error("the key package is of another cipher suite");
  if (!(await mls.verifyKeyPackage(publicPackage, cs.signature)))
    throw new Error("the key package's signature is not valid");
  const privatePackage = {
    initPrivateKey: g.bytes(unhex(vector.init_priv, "init_priv")),
    hpkePrivateKey: g.bytes(unhex(vector.encryption_priv, "encryption_priv")),
    signaturePrivateKey: g.bytes(
      filled(unhex(vector.signature_priv, "signature_priv"), SCALAR_SIZES[vector.cipher_suite]),
    ),
  };
  const { initKey, leafNode } = publicPackage;
  await checkPair(cs, initKey, privatePackage.initPrivateKey, "init_priv");
  await checkPair(cs, leafNode.hpkePublicKey, privatePackage.hpkePrivateKey, "encryption_priv");
  const text = Buffer.from("signature_priv");
  const signature = await cs.signature.sign(privatePackage.signaturePrivateKey, text);
  if (!(await cs.signature.verify(leafNode.signaturePublicKey, text, signature)))
    throw new Error("signature_priv is not the public key's");
  return { publicPackage, privatePackage };
}

async function join(cs, vector) {
  const { publicPackage, privatePackage } = await readPackages(cs, vector);
  const psks = Object.fromEntries(
    vector.external_psks.map(({ psk_id: id, psk }) => [
      g.externalPskKey(unhex(id, "psk_id")),
      g.bytes(unhex(psk, "psk")),
    ]),
  );
  const state = await mls.joinGroup(
    g.readWelcome(unhex(vector.welcome, "welcome")),
    publicPackage,
    privatePackage,
    mls.makePskIndex(undefined, psks),
    cs,
    g.readTree(unhex(vector.ratchet_tree ?? "", "ratchet_tree")),
    undefined,
    CONFIG,
  );
  return new g.Member(cs, state, false, psks);
}

async function follow(vector) {
  const member = await join(await g.suite(vector.cipher_suite), vector);
  same(member.epochAuthenticator, vector.initial_epoch_authenticator, "initial_epoch_authenticator");
  const id = g.members.add(member);
  for (const [at, epoch] of vector.epochs.entries()) {
    try {
      await applyCommit({
        state_id: id,
        proposal: epoch.proposals.map((proposal) => unhex(proposal, "proposal")),
        commit: unhex(epoch.commit, "commit"),
      });
      same(member.epochAuthenticator, epoch.epoch_authenticator, "epoch_authenticator");
    } catch (error) {
      throw new Error(`epochs[${at}]: ${error.message}`, { cause: error });
    }
  }
  g.members.delete(id);
}

const vectors = JSON.parse(readFileSync(positionals[0], "utf8"));
if (!Array.isArray(vectors) || vectors.length === 0) throw new Error(`${positionals[0]} holds no cases`);
for (const [at, vector] of vectors.entries()) {
  const told = { case: at, suite: vector.cipher_suite, ok: true };
  try {
    await follow(vector);
  } catch (error) {
    Object.assign(told, { ok: false, error: error.message });
    process.exitCode = 1;
  }
  console.log(JSON.stringify(told));
}
