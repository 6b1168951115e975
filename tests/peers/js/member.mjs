// The calls of a member: joining, an epoch's secrets and messages, proposals, commits.

import * as g from "./groups.mjs";
import * as mls from "./library.mjs";

const joined = (member) => ({
  state_id: g.members.add(member),
  epoch_authenticator: member.epochAuthenticator,
});

/** Let the library process a proposal or a commit. Its own dispatcher gives a PrivateMessage no PSKs. */
async function process(member, state, encoded) {
  const message = mls.readWhole(mls.decodeMlsMessage, g.bytes(encoded), "an MLSMessage");
  const psks = mls.makePskIndex(state, member.psks);
  switch (message.wireformat) {
    case "mls_public_message":
      return mls.processPublicMessage(state, message.publicMessage, psks, member.cs);
    case "mls_private_message":
      return mls.processPrivateMessage(state, message.privateMessage, psks, member.cs);
    default:
      throw new Error(`a ${message.wireformat} is neither proposal nor commit`);
  }
}

/** The member's state with exactly these proposals waiting. What one adds is kept: each is read once. */
async function withProposals(member, encoded) {
  let waiting = {};
  for (const proposal of encoded) {
    const key = proposal.toString("hex");
    if (!member.proposals.has(key)) {
      const { newState } = await process(member, member.state, proposal);
      member.proposals.set(key, newState.unappliedProposals);
      member.state = { ...newState, unappliedProposals: {} };
    }
    waiting = { ...waiting, ...member.proposals.get(key) };
  }
  return { ...member.state, unappliedProposals: waiting };
}

/** Own Updates are committed by others, who encrypt to the new key: it replaces the old one beforehand. */
function withOwnUpdate(member, state) {
  const { leafIndex, privateKeys } = state.privatePath;
  for (const { proposal, senderLeafIndex } of Object.values(state.unappliedProposals)) {
    if (proposal.proposalType !== "update" || senderLeafIndex !== leafIndex) continue;
    const key = member.updates.get(Buffer.from(proposal.update.leafNode.hpkePublicKey).toString("hex"));
    return { ...state, privatePath: { leafIndex, privateKeys: { ...privateKeys, [leafIndex * 2]: key } } };
  }
  return state;
}

export async function propose(member, proposal) {
  const { newState, message } = await mls.createProposal(member.state, !member.encrypt, proposal, member.cs);
  const encoded = Buffer.from(mls.encodeMlsMessage(message));
  member.proposals.set(encoded.toString("hex"), newState.unappliedProposals);
  member.state = { ...newState, unappliedProposals: {} };
  return { proposal: encoded };
}

/** Refuse a result that lacks the path that was asked for: a path changes the committer's own leaf. */
export function checkPath(forcePath, before, after) {
  const leaf = ({ privatePath, ratchetTree }) => ratchetTree[privatePath.leafIndex * 2].leaf.hpkePublicKey;
  if (forcePath && Buffer.from(leaf(before)).equals(leaf(after)))
    throw new Error("the library left the path out");
}

/** Stage a commit; applying it is another call. */
export async function commit(request) {
  const member = g.members.get(request.state_id);
  const state = await withProposals(member, request.by_reference);
  const { groupContext, ratchetTree } = state;
  const created = await mls.createCommit(
    { state, pskIndex: member.pskIndex(request.force_path), cipherSuite: member.cs },
    {
      wireAsPublicMessage: !member.encrypt,
      extraProposals: request.by_value.map((wanted) =>
        g.described(member.cs, groupContext, ratchetTree, wanted),
      ),
      ratchetTreeExtension: !request.external_tree,
    },
  );
  checkPath(request.force_path, state, created.newState);
  member.pending = created.newState;
  return {
    commit: mls.encodeMlsMessage(created.commit),
    welcome: created.welcome && g.writeMessage("mls_welcome", "welcome", created.welcome),
    ratchet_tree: request.external_tree ? mls.encodeRatchetTree(created.newState.ratchetTree) : undefined,
  };
}

/** Enter the epoch of the member's own staged commit. */
export function applyPending(request) {
  const member = g.members.get(request.state_id);
  if (member.pending === undefined) throw new g.NotFoundError("no commit was staged");
  member.advance(member.pending);
  return member;
}

/** Enter the epoch of somebody else's commit. */
export async function applyCommit(request) {
  const member = g.members.get(request.state_id);
  const state = withOwnUpdate(member, await withProposals(member, request.proposal));
  const { newState, kind, actionTaken } = await process(member, state, request.commit);
  if (kind === "applicationMessage" || actionTaken !== "accept") throw new Error("this is not a commit");
  if (newState.groupContext.epoch !== state.groupContext.epoch + 1n)
    throw new Error("the commit began no epoch");
  member.advance(newState);
  return member;
}

const applied = (request, member) => ({
  state_id: request.state_id,
  epoch_authenticator: member.epochAuthenticator,
});

export const memberCalls = {
  async CreateGroup(request) {
    const cs = await g.suite(request.cipher_suite);
    const { publicPackage, privatePackage } = await g.newKeyPackage(request.identity, cs);
    const groupId = g.bytes(request.group_id);
    const state = await mls.createGroup(groupId, publicPackage, privatePackage, [], cs, g.CONFIG);
    return { state_id: g.members.add(new g.Member(cs, state, request.encrypt_handshake, {})) };
  },

  async CreateKeyPackage(request) {
    const cs = await g.suite(request.cipher_suite);
    const { joiner, id } = await g.newJoiner(request.identity, cs);
    return {
      transaction_id: id,
      key_package: g.writeMessage("mls_key_package", "keyPackage", joiner.publicPackage),
      ...g.privateKeys(joiner),
    };
  },

  async JoinGroup(request) {
    const { cs, publicPackage, privatePackage, psks } = g.joiners.get(request.transaction_id);
    const state = await mls.joinGroup(
      g.readWelcome(request.welcome),
      publicPackage,
      privatePackage,
      mls.makePskIndex(undefined, psks),
      cs,
      g.readTree(request.ratchet_tree),
      undefined,
      g.CONFIG,
    );
    g.joiners.delete(request.transaction_id);
    return joined(new g.Member(cs, state, request.encrypt_handshake, psks));
  },

  async ExternalJoin(request) {
    const groupInfo = g.readGroupInfo(request.group_info);
    const cs = await g.suiteNamed(groupInfo.groupContext.cipherSuite);
    const { publicPackage, privatePackage } = await g.newKeyPackage(request.identity, cs);
    const psks = Object.fromEntries(
      request.psks.map(({ psk_id: id, psk_secret: secret }) => [g.externalPskKey(id), g.bytes(secret)]),
    );
    const ids = request.psks.map(({ psk_id: id }) => g.externalPsk(cs, id).psk.preSharedKeyId);
    const externalCommitPsks = { ids, index: mls.makePskIndex(undefined, psks), folded: false };
    const sameIdentity = (ours, leaf) =>
      leaf.credential.credentialType === "basic" &&
      Buffer.from(leaf.credential.identity).equals(ours.leafNode.credential.identity);
    const { publicMessage, newState } = await mls.joinGroupExternal(
      groupInfo,
      publicPackage,
      privatePackage,
      request.remove_prior,
      cs,
      g.readTree(request.ratchet_tree),
      {
        ...g.CONFIG,
        keyPackageEqualityConfig: {
          ...g.CONFIG.keyPackageEqualityConfig,
          compareKeyPackageToLeafNode: sameIdentity,
        },
        externalCommitPsks,
      },
    );
    if (ids.length > 0 && !externalCommitPsks.folded) throw new Error("the library left the PSKs out");
    const state = { ...newState, clientConfig: g.CONFIG };
    return {
      ...joined(new g.Member(cs, state, request.encrypt_handshake, psks)),
      commit: g.writeMessage("mls_public_message", "publicMessage", publicMessage),
    };
  },

  async GroupInfo(request) {
    const { state, cs } = g.members.get(request.state_id);
    const create = request.external_tree
      ? mls.createGroupInfoWithExternalPub
      : mls.createGroupInfoWithExternalPubAndRatchetTree;
    return {
      group_info: g.writeMessage("mls_group_info", "groupInfo", await create(state, [], cs)),
      ratchet_tree: request.external_tree ? mls.encodeRatchetTree(state.ratchetTree) : undefined,
    };
  },

  async StateAuth(request) {
    return { state_auth_secret: g.members.get(request.state_id).epochAuthenticator };
  },

  async Export(request) {
    const { state, cs } = g.members.get(request.state_id);
    const { exporterSecret } = state.keySchedule;
    const { label, context, key_length: length } = request;
    return { exported_secret: await mls.mlsExporter(exporterSecret, label, g.bytes(context), length, cs) };
  },

  async Protect(request) {
    const member = g.members.get(request.state_id);
    const plaintext = g.bytes(request.plaintext);
    const aad = g.bytes(request.authenticated_data);
    const { newState, privateMessage } = await mls.createApplicationMessage(
      member.state,
      plaintext,
      member.cs,
      aad,
    );
    member.state = newState;
    return { ciphertext: g.writeMessage("mls_private_message", "privateMessage", privateMessage) };
  },

  async Unprotect(request) {
    const member = g.members.get(request.state_id);
    const message = g.readMessage(request.ciphertext, "mls_private_message", "privateMessage");
    const psks = mls.makePskIndex(member.state, member.psks);
    const opened = await mls.processPrivateMessage(member.state, message, psks, member.cs);
    if (opened.kind !== "applicationMessage") throw new Error("not an application message");
    member.state = opened.newState;
    // The library does not hand the authenticated data out; it is in the clear, and was authenticated.
    return { authenticated_data: message.authenticatedData, plaintext: opened.message };
  },

  async StorePSK(request) {
    const id = request.state_or_transaction_id;
    const holder = g.members.has(id) ? g.members.get(id) : g.joiners.get(id);
    holder.psks[g.externalPskKey(request.psk_id)] = g.bytes(request.psk_secret);
    return {};
  },

  async AddProposal(request) {
    const keyPackage = g.readKeyPackage(request.key_package);
    return propose(g.members.get(request.state_id), { proposalType: "add", add: { keyPackage } });
  },

  async UpdateProposal(request) {
    const member = g.members.get(request.state_id);
    const { cs, state } = member;
    const { leafIndex } = state.privatePath;
    const { groupId } = state.groupContext;
    const { publicKey, privateKey } = await cs.hpke.generateKeyPair();
    const hpkePublicKey = await cs.hpke.exportPublicKey(publicKey);
    const { signaturePublicKey, credential, capabilities, extensions } =
      state.ratchetTree[leafIndex * 2].leaf;
    const fields = { hpkePublicKey, signaturePublicKey, credential, capabilities, extensions };
    const leafNode = { ...fields, leafNodeSource: "update" };
    const signed = mls.encodeLeafNodeTBS({ ...leafNode, groupId, leafIndex });
    leafNode.signature = await mls.signWithLabel(
      state.signaturePrivateKey,
      "LeafNodeTBS",
      signed,
      cs.signature,
    );
    member.updates.set(
      Buffer.from(hpkePublicKey).toString("hex"),
      await cs.hpke.exportPrivateKey(privateKey),
    );
    return propose(member, { proposalType: "update", update: { leafNode } });
  },

  async RemoveProposal(request) {
    const member = g.members.get(request.state_id);
    const removed = g.findLeaf(member.state.ratchetTree, request.removed_id);
    return propose(member, { proposalType: "remove", remove: { removed } });
  },

  async ExternalPSKProposal(request) {
    const member = g.members.get(request.state_id);
    return propose(member, g.externalPsk(member.cs, request.psk_id));
  },

  async ResumptionPSKProposal(request) {
    const member = g.members.get(request.state_id);
    const epoch = { groupId: member.state.groupContext.groupId, epoch: BigInt(request.epoch_id) };
    return propose(member, g.resumptionPsk(member.cs, epoch, "application"));
  },

  async GroupContextExtensionsProposal(request) {
    const wanted = g.contextExtensions(g.extensions(request.extensions));
    return propose(g.members.get(request.state_id), wanted);
  },

  Commit: commit,

  async HandleCommit(request) {
    return applied(request, await applyCommit(request));
  },

  async HandlePendingCommit(request) {
    return applied(request, applyPending(request));
  },

  async Free(request) {
    g.members.delete(request.state_id);
    return {};
  },
};
