// What this peer keeps between calls, and the translations between the interop interface and ts-mls.

import { p256, p384, p521 } from "@noble/curves/nist.js";
import * as mls from "./library.mjs";

/** A call for something that the peer was never given, or has forgotten. */
export class NotFoundError extends Error {}

const IDS = Object.fromEntries(Object.entries(mls.ciphersuites).map(([name, id]) => [id, name]));
export const SUITES = [1, 2, 3, 4, 5, 6, 7];

const EXTENSIONS = Object.fromEntries(
  Object.entries(mls.defaultExtensionTypes).map(([name, id]) => [id, name]),
);

// Every GREASE value there is (RFC 9420 section 13.5), always: a peer that chokes on one does so in each run.
const GREASE = [...Array(15).keys()].map((high) => high * 0x1010 + 0x0a0a);

const CAPABILITIES = {
  versions: ["mls10"],
  ciphersuites: [...SUITES.map((id) => IDS[id]), ...GREASE.map(String)],
  extensions: GREASE,
  proposals: GREASE,
  credentials: ["basic", ...GREASE.map(String)],
};

const DAY = 24n * 60n * 60n;

// The scenarios go back further, and skip more, than the library's defaults let a client.
export const CONFIG = {
  authService: mls.defaultAuthenticationService,
  keyPackageEqualityConfig: mls.defaultKeyPackageEqualityConfig,
  keyRetentionConfig: {
    retainKeysForGenerations: 100,
    retainKeysForEpochs: 100,
    maximumForwardRatchetSteps: 1000,
  },
  lifetimeConfig: { maximumTotalLifetime: 400n * DAY, validateLifetimeOnReceive: true },
  paddingConfig: mls.defaultPaddingConfig,
};

const ECDSA = { 2: p256, 5: p521, 7: p384 };

// Signature keys as RFC 9420 has them. The library's own are compressed points for ECDSA (section 5.1.1 has
// them uncompressed) and, for Ed25519, private keys wrapped in PKCS #8 (passive-client vectors have them
// bare); it reads the other form of both.
const keygen = (id, signature) => async () => {
  const { signKey, publicKey } = await signature.keygen();
  if (id in ECDSA) return { signKey, publicKey: ECDSA[id].Point.fromBytes(publicKey).toBytes(false) };
  return { signKey: signKey.length === 48 ? signKey.slice(-32) : signKey, publicKey };
};

const suites = new Map();

/** The library's implementation of a suite, by the suite's number. */
export async function suite(id) {
  const name = IDS[id];
  if (!SUITES.includes(id)) throw new NotFoundError(`no cipher suite ${id}`);
  if (!suites.has(id)) {
    const cs = await mls.getCiphersuiteImpl(mls.getCiphersuiteFromName(name), mls.nobleCryptoProvider);
    suites.set(id, { ...cs, signature: { ...cs.signature, keygen: keygen(id, cs.signature) } });
  }
  return suites.get(id);
}

export const suiteNamed = (name) => suite(mls.ciphersuites[name]);
export const suiteName = (id) => IDS[id];

/** Things by number. All tables share one sequence: StorePSK does not say which kind of id it has. */
let last = 0;
export class Table {
  #kept = new Map();
  #what;

  constructor(what) {
    this.#what = what;
  }

  add(item) {
    last += 1;
    this.#kept.set(last, item);
    return last;
  }

  has(id) {
    return this.#kept.has(id);
  }

  get(id) {
    if (!this.#kept.has(id)) throw new NotFoundError(`no ${this.#what} ${id}`);
    return this.#kept.get(id);
  }

  delete(id) {
    this.get(id);
    this.#kept.delete(id);
  }
}

// Members of groups, key packages waiting for a Welcome, groups waiting for their successor, external
// signers.
export const members = new Table("state");
export const joiners = new Table("transaction");
export const successors = new Table("reinit");
export const signers = new Table("signer");

/** A member: one epoch of one group, as a value of the library's, and what was proposed in it. */
export class Member {
  constructor(cs, state, encrypt, psks) {
    this.cs = cs;
    this.state = state;
    this.encrypt = encrypt;
    this.psks = psks;
    this.pending = undefined;
    this.#begin();
  }

  #begin() {
    this.proposals = new Map(); // a proposal's bytes, in hex, to what it adds to the library's list of them
    this.updates = new Map(); // an own Update's public key, in hex, to the private one
  }

  /** Enter the next epoch. */
  advance(state) {
    this.state = state;
    this.pending = undefined;
    this.#begin();
  }

  get epochAuthenticator() {
    return this.state.keySchedule.epochAuthenticator;
  }

  pskIndex(forcePath = false) {
    return { ...mls.makePskIndex(this.state, this.psks), forcePath };
  }
}

export const externalPskKey = (pskId) => mls.bytesToBase64(new Uint8Array(pskId));

/** protobuf hands over Buffers, which the library's codec would take for something else when slicing. */
export const bytes = (buffer) => new Uint8Array(buffer);

export function readMessage(buffer, wireformat, field) {
  const message = mls.readWhole(mls.decodeMlsMessage, bytes(buffer), "an MLSMessage");
  if (message.wireformat !== wireformat) throw new Error(`expected ${wireformat}, got ${message.wireformat}`);
  return message[field];
}

export const readKeyPackage = (buffer) => readMessage(buffer, "mls_key_package", "keyPackage");
export const readWelcome = (buffer) => readMessage(buffer, "mls_welcome", "welcome");
export const readGroupInfo = (buffer) => readMessage(buffer, "mls_group_info", "groupInfo");

export const writeMessage = (wireformat, field, content) =>
  mls.encodeMlsMessage({ version: "mls10", wireformat, [field]: content });

/** A ratchet tree, undefined for no bytes. */
export const readTree = (buffer) =>
  buffer.length === 0 ? undefined : mls.readWhole(mls.decodeRatchetTree, bytes(buffer), "a ratchet tree");

export const credential = (identity) => ({ credentialType: "basic", identity: bytes(identity) });

export async function newKeyPackage(identity, cs) {
  const now = BigInt(Math.floor(Date.now() / 1000));
  const lifetime = { notBefore: now - DAY, notAfter: now + 60n * DAY };
  return mls.generateKeyPackage(credential(identity), CAPABILITIES, lifetime, [], cs);
}

/** The same, kept for a Welcome. */
export async function newJoiner(identity, cs) {
  const { publicPackage, privatePackage } = await newKeyPackage(identity, cs);
  const joiner = { cs, publicPackage, privatePackage, psks: {} };
  return { joiner, id: joiners.add(joiner) };
}

export const privateKeys = ({ privatePackage }) => ({
  init_priv: privatePackage.initPrivateKey,
  encryption_priv: privatePackage.hpkePrivateKey,
  signature_priv: privatePackage.signaturePrivateKey,
});

export const extensions = (given) =>
  given.map(({ extension_type: type, extension_data: data }) => ({
    extensionType: EXTENSIONS[type] ?? type,
    extensionData: bytes(data),
  }));

/** The leaf with this identity. */
export function findLeaf(tree, identity) {
  const wanted = Buffer.from(identity);
  const at = tree.findIndex(
    (node) => node?.nodeType === "leaf" && wanted.equals(node.leaf.credential.identity),
  );
  if (at < 0) throw new NotFoundError(`no member ${wanted.toString()}`);
  return at / 2;
}

const pskProposal = (cs, id) => ({
  proposalType: "psk",
  psk: { preSharedKeyId: { ...id, pskNonce: cs.rng.randomBytes(cs.kdf.size) } },
});

export const externalPsk = (cs, pskId) => pskProposal(cs, { psktype: "external", pskId: bytes(pskId) });

export const resumptionPsk = (cs, { groupId, epoch }, usage) =>
  pskProposal(cs, { psktype: "resumption", usage, pskGroupId: groupId, pskEpoch: epoch });

export const contextExtensions = (given) => ({
  proposalType: "group_context_extensions",
  groupContextExtensions: { extensions: given },
});

export const reinit = (groupId, suiteId, given) => ({
  proposalType: "reinit",
  reinit: { groupId: bytes(groupId), version: "mls10", cipherSuite: suiteName(suiteId), extensions: given },
});

/** The proposal that a ProposalDescription asks for, in the group of this context and tree. */
export function described(cs, groupContext, tree, wanted) {
  switch (wanted.proposal_type.toString()) {
    case "add":
      return { proposalType: "add", add: { keyPackage: readKeyPackage(wanted.key_package) } };
    case "remove":
      return { proposalType: "remove", remove: { removed: findLeaf(tree, wanted.removed_id) } };
    case "externalPSK":
      return externalPsk(cs, wanted.psk_id);
    case "resumptionPSK":
      return resumptionPsk(
        cs,
        { groupId: groupContext.groupId, epoch: BigInt(wanted.epoch_id) },
        "application",
      );
    case "groupContextExtensions":
      return contextExtensions(extensions(wanted.extensions));
    case "reinit":
      return reinit(wanted.group_id, wanted.cipher_suite, extensions(wanted.extensions));
    default:
      throw new Error(`unknown proposal type ${wanted.proposal_type}`);
  }
}
