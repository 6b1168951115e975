// All that is used of ts-mls: what the package exports, and the pieces it keeps inside.
//
// The package has no Update proposals, and no way to read or write a ratchet tree by itself, which the
// interop interface asks for. Its modules hold what is needed for both; package.json pins the release this
// knows inside.

import { decodeVarLenType } from "./node_modules/ts-mls/dist/src/codec/variableLength.js";

export {
  bytesToBase64,
  ciphersuites,
  createApplicationMessage,
  createCommit,
  createGroup,
  createGroupInfoWithExternalPub,
  createGroupInfoWithExternalPubAndRatchetTree,
  createProposal,
  decodeExternalSender,
  decodeMlsMessage,
  defaultAuthenticationService,
  defaultExtensionTypes,
  defaultKeyPackageEqualityConfig,
  defaultPaddingConfig,
  encodeExternalSender,
  encodeMlsMessage,
  generateKeyPackage,
  getCiphersuiteFromName,
  getCiphersuiteImpl,
  joinGroup,
  joinGroupExternal,
  makePskIndex,
  mlsExporter,
  nobleCryptoProvider,
  processPrivateMessage,
  processPublicMessage,
  proposeAddExternal,
  proposeExternal,
} from "ts-mls";
export { decodeVarLenData, lengthEncoder } from "./node_modules/ts-mls/dist/src/codec/variableLength.js";
export { signWithLabel } from "./node_modules/ts-mls/dist/src/crypto/signature.js";
export { verifyKeyPackage } from "./node_modules/ts-mls/dist/src/keyPackage.js";
export { encodeLeafNodeTBS } from "./node_modules/ts-mls/dist/src/leafNode.js";
export { accumulatePskSecret } from "./node_modules/ts-mls/dist/src/pskIndex.js";
export { decodeRatchetTree, encodeRatchetTree } from "./node_modules/ts-mls/dist/src/ratchetTree.js";

/** Run one of the library's decoders over all of the bytes. */
export function readWhole(decoder, bytes, what) {
  const read = decoder(bytes, 0);
  if (read === undefined || read[1] !== bytes.length) throw new Error(`cannot decode ${what}`);
  return read[0];
}

/** A vector of the given items that takes up all of the bytes. */
export function readVector(decoder, bytes) {
  return readWhole(decodeVarLenType(decoder), bytes, "a vector");
}
