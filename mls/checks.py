"""Every rule that bytes from outside can break, numbered after the section that states it.

The first part of a number names the document: VAL is RFC 9420, EXT mls-extensions, VC virtual clients, TM targeted
messages, DMLS and DIMLS the two ways of doing without a server. docs/spec-notes.md says which edition of each.

One row per rule: a `PeerError` is raised with its number, docs/validation.md is written from this table, and
`python -m tests.validation` holds code, table and tests against each other. Numbers are never reused.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """A rule in a sentence, as an error message states what was wrong."""

    sentence: str


def _table(rows: dict[str, str]) -> dict[str, Check]:
    return {number: Check(sentence) for number, sentence in rows.items()}


CHECKS: dict[str, Check] = _table(
    {
        # Presentation language
        "VAL-2.1-1": "a value is longer than the bytes that are left",
        "VAL-2.1-2": "a vector length is not in its shortest form",
        "VAL-2.1-3": "a vector length uses the reserved form",
        "VAL-2.1-4": "an optional is neither absent nor present",
        "VAL-2.1-5": "bytes are left over after the value",
        # Credentials
        "VAL-5.3-1": "the credential type is unknown",
        "VAL-5.3.1-1": "the authentication service does not accept the credential for the key",
        "VAL-5.3.1-2": "a replacement credential does not belong to the same client",
        "VAL-5.3-2": "a certificate of the chain cannot be parsed",
        "VAL-5.3-3": "the leaf certificate's key is not the signature key",
        "VAL-5.3-4": "a certificate is not certified by the next one in the chain",
        "VAL-5.3-5": "the chain does not end at a trust anchor",
        "VAL-5.3-6": "a certificate does not permit the use made of it",
        "VAL-5.3-7": "the chain is empty, too long or too large",
        "VAL-5.3-8": "a certificate is signed by a kind of key, or over a hash, that is not accepted",
        "VAL-5.3.2-1": "a certificate has expired or is not valid yet",
        "VAL-5.3.2-2": "a certificate is revoked",
        # Framing
        "VAL-6-1": "the sender type is unknown",
        "VAL-6-2": "the content type is unknown",
        "VAL-6-3": "the protocol version is not MLS 1.0",
        "VAL-6-4": "the wire format is not one that is expected here",
        "VAL-6-5": "the sender's leaf is blank",
        "VAL-6-6": "the sender may not send content of this type",
        "VAL-6.1-1": "the message signature does not verify",
        "VAL-6.2-1": "application data was sent unencrypted",
        "VAL-6.2-2": "the membership tag does not verify",
        "VAL-6.3.1-1": "the content does not decrypt",
        "VAL-6.3.1-2": "the padding is not all zero",
        "VAL-6.3.2-1": "the sender data does not decrypt",
        "VAL-6.3.2-2": "the sender data has the wrong size",
        "VAL-6.3.2-3": "the sender data names a blank leaf",
        # Ratchet tree
        "VAL-7.1-1": "the unmerged leaves are not in ascending order",
        "VAL-7.1-2": "the node type is unknown",
        "VAL-7.2-1": "the leaf node source is unknown",
        "VAL-7.2-2": "the leaf's lifetime is longer than this client accepts",
        "VAL-7.2-3": "the leaf's credential type is not among its own capabilities",
        "VAL-7.3-2": "a leaf signature does not verify",
        "VAL-7.3-3": "a member does not support a required capability",
        "VAL-7.3-4": "a member does not support a credential type that is in use",
        "VAL-7.3-5": "the leaf has expired or is not valid yet",
        "VAL-7.3-6": "the leaf carries an extension that its capabilities do not list",
        "VAL-7.3-7": "the new leaf repeats the encryption key of the one it replaces",
        "VAL-7.3-8": "an encryption key occurs twice in the tree",
        "VAL-7.3-9": "a signature key occurs twice in the tree",
        "VAL-7.9-1": "the leaf's parent hash does not match the path",
        "VAL-7.9.2-1": "a parent node is not parent-hash valid",
        # Key schedule
        "VAL-8.1-1": "the group context has another protocol version",
        "VAL-8.1-2": "the epoch number is higher than commits can have brought it",
        "VAL-8.3-1": "the external init does not decapsulate",
        "VAL-8.4-1": "the pre-shared key type or usage is unknown",
        "VAL-8.4-2": "there are more pre-shared keys than can be counted",
        # KeyPackages
        "VAL-10.1-1": "the KeyPackage is for another version or cipher suite",
        "VAL-10.1-2": "the KeyPackage's leaf is not of source key_package",
        "VAL-10.1-3": "a KeyPackage signature does not verify",
        "VAL-10.1-4": "the init key repeats the leaf's encryption key",
        "VAL-10.1-5": "a public key is not valid for the cipher suite",
        # Required capabilities
        "VAL-11.1-1": "a member does not list the group's version or cipher suite",
        # Proposals
        "VAL-12.1-1": "the proposal type is unknown",
        "VAL-12.1.2-1": "the Update's leaf is not of source update",
        "VAL-12.1.2-3": "the Update is for our leaf, and its keys are not ours",
        "VAL-12.1.3-1": "the Remove names a blank leaf",
        "VAL-12.1.4-1": "the pre-shared key nonce has the wrong size",
        "VAL-12.1.4-2": "a founding pre-shared key is used in an existing group",
        "VAL-12.1.5-1": "the ReInit lowers the protocol version",
        "VAL-12.1.8-1": "an external sender may not propose this",
        "VAL-12.1.8-2": "somebody new may propose nothing but their own addition",
        "VAL-12.1.8.1-1": "the external sender is not in the group's list",
        # Proposal lists
        "VAL-12.2-1": "the list has an Update by the committer",
        "VAL-12.2-2": "the list removes the committer",
        "VAL-12.2-3": "the list changes one leaf twice",
        "VAL-12.2-4": "the list adds one client twice",
        "VAL-12.2-5": "the list adds a client that is a member and stays one",
        "VAL-12.2-6": "the list uses one pre-shared key twice",
        "VAL-12.2-7": "the list replaces the group's extensions twice",
        "VAL-12.2-8": "the list has a ReInit beside other proposals",
        "VAL-12.2-9": "an ExternalInit is outside an external commit",
        "VAL-12.2-10": "the list has a proposal type that a member does not support",
        "VAL-12.2-11": "an external commit has not exactly one ExternalInit",
        "VAL-12.2-12": "an external commit has a proposal that it may not have",
        "VAL-12.2-13": "an external commit removes more than one leaf",
        # Commits
        "VAL-12.4-1": "a commit entry is neither a proposal nor a reference",
        "VAL-12.4.2-2": "the commit must have a path and has none",
        "VAL-12.4.2-3": "the path's leaf is not of source commit",
        "VAL-12.4.2-4": "a key of the path is in the tree already",
        "VAL-12.4.2-5": "the path has the wrong number of nodes",
        "VAL-12.4.2-6": "a path node has the wrong number of ciphertexts",
        "VAL-12.4.2-7": "the path has no ciphertext for us",
        "VAL-12.4.2-8": "the path secret does not decrypt",
        "VAL-12.4.2-9": "a key of the path does not follow from its secret",
        "VAL-12.4.2-10": "the confirmation tag does not verify",
        # Welcome
        "VAL-12.4.3.1-1": "the Welcome is for none of our KeyPackages",
        "VAL-12.4.3.1-2": "the group secrets do not decrypt",
        "VAL-12.4.3.1-3": "more than one pre-shared key founds the group",
        "VAL-12.4.3.1-4": "the GroupInfo does not decrypt",
        "VAL-12.4.3.1-5": "the GroupInfo's signer is a blank leaf",
        "VAL-12.4.3.1-6": "the GroupInfo signature does not verify",
        "VAL-12.4.3.1-7": "we are a member of a group of that id",
        "VAL-12.4.3.1-8": "the GroupInfo is for another cipher suite",
        "VAL-12.4.3.1-9": "the tree hash does not match the tree",
        "VAL-12.4.3.1-10": "an unmerged leaf is not a member below its node",
        "VAL-12.4.3.1-11": "an unmerged leaf is not listed by a node in between",
        "VAL-12.4.3.1-12": "our leaf is not in the tree",
        "VAL-12.4.3.1-13": "the path secret does not match the tree",
        "VAL-12.4.3.1-14": "the confirmation tag does not verify",
        "VAL-12.4.3.1-15": "a group that continues another one is not at epoch 1",
        "VAL-12.4.3.1-16": "the group does not match the ReInit it follows",
        "VAL-12.4.3.1-17": "a member of the old group is missing from the new one",
        "VAL-12.4.3.1-18": "the branch has another cipher suite than its origin",
        "VAL-12.4.3.1-19": "the branch has a member that the origin has not",
        "VAL-12.4.3.1-20": "the group does not say that it continues the one it was taken to continue",
        # External commits
        "VAL-12.4.3.2-1": "the GroupInfo has no external public key",
        "VAL-12.4.3.2-2": "an external commit refers to a proposal",
        "VAL-12.4.3.2-3": "an external commit has no path",
        # Ratchet tree extension
        "VAL-12.4.3.3-1": "the tree is empty or ends with a blank node",
        "VAL-12.4.3.3-2": "a node stands where one of its kind cannot be",
        # Extensions
        "VAL-13.4-1": "a list has two extensions of one type",
        "VAL-13.4-2": "a member does not support an extension of the group",
        "VAL-13.4-3": "this client does not support an extension of the group",
        # Limits
        "VAL-15.3-1": "the message is too many generations ahead",
        # mls-extensions (EXT)
        "EXT-4.2-1": "what a component is sent does not decrypt",
        "EXT-4.2-2": "nothing can be sealed to the public key",
        "EXT-4.6-1": "the application data is not sorted by component, each once",
        "EXT-4.7-1": "the AppDataUpdate neither updates nor removes",
        "EXT-4.7-2": "the AppDataUpdate is for a component that is not known here",
        "EXT-4.7-3": "the list removes a component's data beside other changes of it",
        "EXT-4.7-4": "the list removes a component's data that is not there",
        "EXT-4.7-5": "new extensions change application data where AppDataUpdate is required",
        "EXT-4.7-6": "the component does not accept what the list does to its data",
        "EXT-4.7-7": "the AppDataUpdate is for a component that a member does not list among those it supports",
        "EXT-4.8-1": "the AppEphemeral is for a component that is not known here",
        "EXT-4.8-2": "the component does not accept the AppEphemeral",
        "EXT-4.8-3": "the AppEphemeral is for a component that a member does not list among those it supports",
        "EXT-4.9-1": "the items of the authenticated data are not sorted by component, each once",
        "EXT-4.9-2": "the authenticated data goes on after its items",
        "EXT-5-1": "a leaf does not support a component that the group demands",
        "EXT-5-2": "a leaf does not support a component in authenticated data that the group demands",
        "EXT-5-3": "a leaf does not support a media type that the group demands",
        "EXT-5-4": "a leaf does not support a wire format that the group demands",
        "EXT-5-5": "this client does not know a component that the group demands",
        "EXT-5-6": "this client does not read a wire format that the group demands",
        "EXT-5-7": "the list would make another kind of group of this one",
        "EXT-5-8": "the group is marked as of two kinds",
        "EXT-5-9": "the group is of a kind that this client takes no part in",
        "EXT-6.1-1": "a range of acknowledged messages ends before it begins",
        "EXT-6.2-1": "the list of media types is empty",
        "EXT-6.2-2": "a media type has not the form of a registered one",
        "EXT-6.2-3": "a media type in a list is not named",
        "EXT-6.3-1": "the commit has a SelfRemove by value",
        "EXT-6.3-2": "the SelfRemove was sent encrypted",
        "EXT-6.4-1": "the mark of a last-resort KeyPackage has data",
        # Virtual clients (VC)
        "VC-5.1.2-1": "the path of a retained subtree is longer than those of the tree",
        "VC-5.1.2-2": "the path of a retained subtree has not the bytes that its length in bits needs",
        "VC-5.1.2-3": "the unused bits after the path of a retained subtree are not zero",
        "VC-5.1.2-4": "the retained subtrees are not in the order of their paths",
        "VC-5.1.2-5": "a retained subtree is inside another one",
        "VC-5.1.2-6": "the secret of a retained subtree has the wrong size",
        "VC-5.1.2-7": "more of the tree is missing than can have been used",
        "VC-5.1.2-8": "two halves of a subtree are retained instead of the whole",
        # Targeted messages (TM)
        "TM-5-1": "the targeted message's signature does not verify",
        "TM-6.1-1": "the targeted message's padding is not all zero",
        "TM-6.2-1": "the targeted message's content does not decrypt",
        "TM-6.3-1": "the targeted message's sender data does not decrypt",
        "TM-7-1": "the targeted message's sender is a blank leaf",
        # DMLS (DMLS)
        "DMLS-3-1": "the epoch identifier has not the size of a hash",
        "DMLS-3-2": "a KeyPackage comes with an epoch identifier, or something else without",
        "DMLS-4-1": "the group's marker is of another version",
        "DMLS-4-2": "the group does not demand that its members know its marker",
        # DiMLS (DIMLS)
        "DIMLS-4.1-1": "the sender is not the owner of the send group",
        "DIMLS-4.1.1-1": "a proposal was sent to a send group outside of a commit",
        "DIMLS-4.1.1-2": "a commit in a send group names a proposal instead of carrying it",
        "DIMLS-4.1.1-3": "send groups have no operation of that type",
        "DIMLS-4.1.1.2-1": "the pre-shared key is not named after an epoch of another member's send group",
        "DIMLS-4.1.1.2-2": "the commit takes up two epochs of one member",
        "DIMLS-4.1.1.2-3": "the epoch, or a newer one of that member, was taken up before",
        "DIMLS-4.1.2-1": "a leaf is replaced in a group that has no place to take it from",
        "DIMLS-4.1.2-2": "the leaf to replace is blank or the sender's own",
        "DIMLS-4.1.2-3": "the newer leaf is not of source commit",
        "DIMLS-4.1.2-4": "an epoch is taken up without its leaf",
        "DIMLS-4.1.2-5": "a leaf is replaced without its epoch being taken up",
        "DIMLS-4.1.2-6": "the newer leaf is not the owner's of the epoch that is taken up",
        "DIMLS-4.2.1-1": "the marker of the send group is of a version that is not known here",
        "DIMLS-4.2.1-2": "the group is not marked as a send group, or does not demand the component of all members",
        "DIMLS-4.2.1-3": "the send group does not demand of all members that they support leaf replacement",
        "DIMLS-4.2.1-4": "a leaf in a send group is of source update",
        "DIMLS-4.2.1-5": "a leaf does not name its member's own send group",
        "DIMLS-4.2.1-6": "the leaf of a send group's owner names another send group",
        "DIMLS-4.2.1-7": "two leaves of a send group name one send group as their own",
        "DIMLS-4.2.1-8": "the send group is of another DGroup",
        "DIMLS-4.2.1-9": "the send group has another cipher suite than ours",
        "DIMLS-4.2.1-10": "the send group's owner is not the member whose send group it is",
        "DIMLS-5-1": "the commit takes up an epoch that lacks somebody who is a member after the commit",
    }
)
