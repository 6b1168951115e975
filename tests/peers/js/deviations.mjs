// What the corrected library calls in the places that corrections.mjs names. It runs inside the library's
// modules while they load, so at load time it calls nothing of theirs.

import { accumulatePskSecret, decodeExternalSender, decodeVarLenData, lengthEncoder } from "./library.mjs";
import { readVector, readWhole } from "./library.mjs";

/** The bytes as a vector: opaque<V>. */
export function opaque(content) {
  const [size, write] = lengthEncoder(content.length);
  const encoded = new Uint8Array(size + content.length);
  write(0, encoded.buffer);
  encoded.set(content, size);
  return encoded;
}

/** What an opaque<V> holds. */
export function inside(encoded) {
  return readWhole(decodeVarLenData, encoded, "opaque<V>");
}

/** Whether a commit to these proposals must have a path (RFC 9420 section 12.4), or was asked to have one. */
export function pathWanted(grouped, pskSearch) {
  return grouped.group_context_extensions.length > 0 || pskSearch.forcePath === true;
}

const isContextExtensions = ({ proposal }) => proposal.proposalType === "group_context_extensions";

/** Whether the proposals replace the GroupContext's extensions, be it by none. */
export function hasContextExtensions(result) {
  return result.allProposals.some(isContextExtensions);
}

/** The old GroupContext with the extensions of the next epoch. */
export function provisionalContext(state, result) {
  const replacing = result.allProposals.find(isContextExtensions);
  if (replacing === undefined) return state.groupContext;
  return { ...state.groupContext, extensions: replacing.proposal.groupContextExtensions.extensions };
}

/** The senders in external_senders, in order; none if there is no such extension. */
export function externalSenders(extensions) {
  const extension = extensions.find(({ extensionType }) => extensionType === "external_senders");
  return extension === undefined ? [] : readVector(decodeExternalSender, extension.extensionData);
}

/** The place of the sender with this key, -1 if it has none. */
export function senderIndex(extensions, signaturePublicKey) {
  return externalSenders(extensions).findIndex(
    (sender) => Buffer.compare(sender.signaturePublicKey, signaturePublicKey) === 0,
  );
}

/** What is wrong with the external senders, undefined if nothing. */
export async function senderTrouble(extensions, authService, Trouble) {
  for (const sender of externalSenders(extensions)) {
    if (!(await authService.validateCredential(sender.credential, sender.signaturePublicKey)))
      return new Trouble("an external sender's credential is not valid");
  }
  return undefined;
}

/** Add a PreSharedKey proposal for each PSK that the caller put into the config, and compute psk_secret. */
export async function foldExternalPsks(clientConfig, proposals, cs) {
  const { externalCommitPsks: psks = { ids: [] } } = clientConfig;
  const { ids, index } = psks;
  psks.folded = true;
  for (const preSharedKeyId of ids) proposals.push({ proposalType: "psk", psk: { preSharedKeyId } });
  const [secret] = await accumulatePskSecret(ids, index, cs, new Uint8Array(cs.kdf.size));
  return secret;
}
