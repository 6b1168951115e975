// ReInit and branching (RFC 9420 sections 11.2 and 11.3): a new group that proves its origin by a resumption
// PSK.
//
// The library's own functions for both fix the new group's extensions and leave the tree out of the Welcome,
// so the new group is made of the same two calls that they are made of.

import * as g from "./groups.mjs";
import * as mls from "./library.mjs";
import { applyCommit, applyPending, checkPath, commit, propose } from "./member.mjs";

async function found(cs, old, groupId, extensions, usage, request, keyPackages) {
  const identity = old.state.ratchetTree[old.state.privatePath.leafIndex * 2].leaf.credential.identity;
  const own = await g.newKeyPackage(identity, cs);
  const state = await mls.createGroup(
    groupId,
    own.publicPackage,
    own.privatePackage,
    extensions,
    cs,
    g.CONFIG,
  );
  const adds = keyPackages.map((encoded) => ({
    proposalType: "add",
    add: { keyPackage: g.readKeyPackage(encoded) },
  }));
  const created = await mls.createCommit(
    { state, pskIndex: old.pskIndex(request.force_path), cipherSuite: cs },
    {
      extraProposals: [...adds, g.resumptionPsk(cs, old.state.groupContext, usage)],
      ratchetTreeExtension: !request.external_tree,
    },
  );
  checkPath(request.force_path, state, created.newState);
  const member = new g.Member(cs, created.newState, old.encrypt, old.psks);
  return {
    state_id: g.members.add(member),
    welcome: created.welcome && g.writeMessage("mls_welcome", "welcome", created.welcome),
    ratchet_tree: request.external_tree ? mls.encodeRatchetTree(member.state.ratchetTree) : undefined,
    epoch_authenticator: member.epochAuthenticator,
  };
}

async function follow(cs, old, joiner, request) {
  const state = await mls.joinGroup(
    g.readWelcome(request.welcome),
    joiner.publicPackage,
    joiner.privatePackage,
    old.pskIndex(),
    cs,
    g.readTree(request.ratchet_tree),
    old.state,
    g.CONFIG,
  );
  const member = new g.Member(cs, state, old.encrypt, old.psks);
  return { state_id: g.members.add(member), epoch_authenticator: member.epochAuthenticator };
}

/** After the old group's last commit: a key package for the new one. */
async function suspended(member) {
  const { groupActiveState, ratchetTree, privatePath } = member.state;
  if (groupActiveState.kind !== "suspendedPendingReinit")
    throw new Error("the commit did not reinitialize the group");
  const cs = await g.suiteNamed(groupActiveState.reinit.cipherSuite);
  const identity = ratchetTree[privatePath.leafIndex * 2].leaf.credential.identity;
  const own = await g.newKeyPackage(identity, cs);
  return {
    reinit_id: g.successors.add({ cs, member, own, wanted: groupActiveState.reinit }),
    key_package: g.writeMessage("mls_key_package", "keyPackage", own.publicPackage),
    epoch_authenticator: member.epochAuthenticator,
  };
}

export const subgroupCalls = {
  async ReInitProposal(request) {
    const wanted = g.reinit(request.group_id, request.cipher_suite, g.extensions(request.extensions));
    return propose(g.members.get(request.state_id), wanted);
  },

  ReInitCommit: commit,

  async HandlePendingReInitCommit(request) {
    return suspended(applyPending(request));
  },

  async HandleReInitCommit(request) {
    return suspended(await applyCommit(request));
  },

  async ReInitWelcome(request) {
    const { cs, member, wanted } = g.successors.get(request.reinit_id);
    return found(cs, member, wanted.groupId, wanted.extensions, "reinit", request, request.key_package);
  },

  async HandleReInitWelcome(request) {
    const { cs, member, own } = g.successors.get(request.reinit_id);
    return follow(cs, member, own, request);
  },

  async CreateBranch(request) {
    const member = g.members.get(request.state_id);
    const extensions = g.extensions(request.extensions);
    return found(
      member.cs,
      member,
      g.bytes(request.group_id),
      extensions,
      "branch",
      request,
      request.key_packages,
    );
  },

  async HandleBranch(request) {
    const joiner = g.joiners.get(request.transaction_id);
    const answer = await follow(joiner.cs, g.members.get(request.state_id), joiner, request);
    g.joiners.delete(request.transaction_id);
    return answer;
  },
};
