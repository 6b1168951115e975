// Where ts-mls 1.6.4 departs from RFC 9420, and what is put in its place while it is loaded.
//
// The newest ts-mls that can be installed has gaps that the working group's scenarios run into; each
// would hide everything that comes after it in the same scenario. They are closed here by the smallest edits
// that do, so that all else (codec, tree, key schedule, framing, validation) is the library's own. Nothing in
// node_modules changes: the edits are made to the text of a module as node loads it. An edit that does not
// fit as often as it should stops the peer, so a new release of the library cannot be corrected by accident.
//
// The edits call deviations.mjs; this file runs in node's loader thread.

const functions = new URL("./deviations.mjs", import.meta.url).href;

const corrections = {
  "clientState.js": {
    imports: ["pathWanted", "senderTrouble"],
    edits: [
      // Section 12.4: a commit with a GroupContextExtensions proposal has a path. The library asks for one
      // only with Update and Remove, and has no way to ask for one otherwise.
      ["const needsUpdatePath = ", "const needsUpdatePath = pathWanted(grouped, pskSearch) || "],
      // Section 12.1.8.1: external_senders holds a vector of senders. The library reads a single one.
      [
        "async function validateExternalSenders(extensions, authService) {",
        "async function validateExternalSenders(extensions, authService) {\n" +
          "    return senderTrouble(extensions, authService, ValidationError);",
      ],
    ],
  },
  "publicMessage.js": {
    imports: ["externalSenders"],
    edits: [
      [
        "export function senderFromExtension(extensions, senderIndex) {",
        "export function senderFromExtension(extensions, senderIndex) {\n" +
          "    return externalSenders(extensions)[senderIndex];",
      ],
    ],
  },
  "externalProposal.js": {
    imports: ["senderIndex"],
    edits: [
      [
        "const externalSenderExtensionIndex = ",
        "const place = senderIndex(groupInfo.groupContext.extensions, signaturePublicKey);\n" +
          "    const externalSenderExtensionIndex = place;\n" +
          "    const asPublished = () => ",
      ],
    ],
  },
  "createCommit.js": {
    imports: ["hasContextExtensions", "provisionalContext", "foldExternalPsks", "opaque", "inside"],
    edits: [
      // Section 12.1.7: the proposal's list replaces the context's, an empty list included. The library takes
      // an empty list for no proposal.
      ["res.additionalResult.extensions.length > 0", "hasContextExtensions(res)"],
      // Section 12.4.1: path secrets are encrypted under the provisional GroupContext, with the new
      // extensions.
      [
        "state.groupContext, state.signaturePrivateKey,",
        "provisionalContext(state, res), state.signaturePrivateKey,",
      ],
      // Section 12.4.3.2: external_pub holds an HPKEPublicKey, which is a vector. The library writes and
      // reads the key bare, in both functions that make a GroupInfo and in the one that joins by it.
      ["extensionData: externalPub }", "extensionData: opaque(externalPub) }", 2],
      ["exportSecret(externalPub.extensionData, cs)", "exportSecret(inside(externalPub.extensionData), cs)"],
      // Section 12.4.3.2: an external commit may carry PreSharedKey proposals. The library offers no way to.
      [
        "const pskSecret = new Uint8Array(cs.kdf.size);",
        "const pskSecret = await foldExternalPsks(clientConfig, proposals, cs);",
      ],
    ],
  },
  "processMessages.js": {
    imports: ["hasContextExtensions"],
    edits: [["result.additionalResult.extensions.length > 0", "hasContextExtensions(result)"]],
  },
};

export async function load(url, context, nextLoad) {
  const loaded = await nextLoad(url, context);
  const name = /\/node_modules\/ts-mls\/dist\/src\/([^/]+)$/.exec(url)?.[1];
  const correction = name && corrections[name];
  if (!correction) return loaded;
  let source = Buffer.from(loaded.source).toString("utf8");
  for (const [from, to, times = 1] of correction.edits) {
    const parts = source.split(from);
    if (parts.length !== times + 1) throw new Error(`${name} is not the one that was corrected: ${from}`);
    source = parts.join(to);
  }
  return { ...loaded, source: `import { ${correction.imports.join(", ")} } from "${functions}";\n${source}` };
}
