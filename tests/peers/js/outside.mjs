// Proposals from outside the group (RFC 9420 section 12.1.8): a joiner's own Add, and external senders.

import * as g from "./groups.mjs";
import { externalSenders, opaque } from "./deviations.mjs";
import * as mls from "./library.mjs";
import { propose } from "./member.mjs";

/** A vector of external senders, as the extension holds it. */
const encodeSenders = (senders) =>
  opaque(Buffer.concat(senders.map((sender) => mls.encodeExternalSender(sender))));

export const outsideCalls = {
  async NewMemberAddProposal(request) {
    const groupInfo = g.readGroupInfo(request.group_info);
    const cs = await g.suiteNamed(groupInfo.groupContext.cipherSuite);
    const { joiner, id } = await g.newJoiner(request.identity, cs);
    const proposal = await mls.proposeAddExternal(groupInfo, joiner.publicPackage, joiner.privatePackage, cs);
    return { transaction_id: id, proposal: mls.encodeMlsMessage(proposal), ...g.privateKeys(joiner) };
  },

  async CreateExternalSigner(request) {
    const cs = await g.suite(request.cipher_suite);
    const { publicKey, signKey } = await cs.signature.keygen();
    const sender = { signaturePublicKey: publicKey, credential: g.credential(request.identity) };
    return {
      signer_id: g.signers.add({ publicKey, signKey }),
      external_sender: mls.encodeExternalSender(sender),
    };
  },

  async AddExternalSigner(request) {
    const member = g.members.get(request.state_id);
    const { extensions } = member.state.groupContext;
    const added = mls.readWhole(
      mls.decodeExternalSender,
      g.bytes(request.external_sender),
      "an ExternalSender",
    );
    const senders = {
      extensionType: "external_senders",
      extensionData: encodeSenders([...externalSenders(extensions), added]),
    };
    const others = extensions.filter(({ extensionType }) => extensionType !== "external_senders");
    return propose(member, g.contextExtensions([...others, senders]));
  },

  async ExternalSignerProposal(request) {
    const { publicKey, signKey } = g.signers.get(request.signer_id);
    const groupInfo = g.readGroupInfo(request.group_info);
    const cs = await g.suiteNamed(groupInfo.groupContext.cipherSuite);
    const tree = g.readTree(request.ratchet_tree);
    const wanted = g.described(cs, groupInfo.groupContext, tree, request.description);
    return {
      proposal: mls.encodeMlsMessage(await mls.proposeExternal(groupInfo, wanted, publicKey, signKey, cs)),
    };
  },
};
