"""What RFC 9420 asks of an implementation, item by item, and where each answer is.

An item is answered by numbered rules, by a place in the code, by tests, or by several of these. Some demands are not
refusals: a message of another epoch is stale and not wrong, and what a committer must do is done, not checked.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One demand."""

    asks: str
    rules: tuple[str, ...]
    code: tuple[str, ...]
    tests: tuple[str, ...]


def _item(asks: str, answers: str) -> Item:
    """Answers by their form: `VAL-...`, `mls.module:name`, or `test_name`, in whatever file that is."""
    words = answers.split()
    return Item(
        asks=asks,
        rules=tuple(word for word in words if word.startswith("VAL-")),
        code=tuple(word for word in words if word.startswith("mls.")),
        tests=tuple(word for word in words if word.startswith("test_")),
    )


CHECKLIST: dict[str, tuple[Item, ...]] = {
    "Encoding (2.1)": (
        _item("lengths fit, in their shortest form; nothing is left over", "VAL-2.1-1 VAL-2.1-2 VAL-2.1-3 VAL-2.1-5"),
        _item("an optional is absent or present", "VAL-2.1-4"),
    ),
    "Cipher suites and labels (5, 17.1)": (
        _item(
            "seven suites and their parts",
            "mls.suite:SUITES test_vectors test_crypto_basics_of_the_working_group",
        ),
        _item(
            "labels of signatures, encryption, references and secrets",
            "mls.suite:Suite test_labels_are_laid_out_as_in_the_rfc",
        ),
        _item(
            "public keys are valid for the suite; none that nothing can be sealed to",
            "VAL-10.1-5 mls.hpke:SMALL_ORDER",
        ),
        _item("one answer to which signatures are valid", "mls.ed25519:well_formed test_signatures"),
    ),
    "Credentials (5.3)": (
        _item("basic and x509; others cannot be read", "VAL-5.3-1"),
        _item(
            "the chain, and its end entity's key",
            "VAL-5.3-2 VAL-5.3-3 VAL-5.3-4 VAL-5.3-5 VAL-5.3-6 VAL-5.3-7 VAL-5.3-8",
        ),
        _item(
            "validated at every event of 5.3.1: KeyPackage to add, Add, Update, path, tree and GroupInfo to "
            "join, external senders",
            "VAL-5.3.1-1",
        ),
        _item("a replacement is a successor", "VAL-5.3.1-2"),
        _item("expiry and revocation", "VAL-5.3.2-1 VAL-5.3.2-2"),
    ),
    "Framing (6)": (
        _item("version, wire format, sender type and content type are known", "VAL-6-1 VAL-6-2 VAL-6-3 VAL-6-4"),
        _item(
            "who may send what, and whose key signs it",
            "VAL-6-5 VAL-6-6 VAL-6.1-1 VAL-12.1.8-1 VAL-12.1.8-2 VAL-12.1.8.1-1",
        ),
        _item(
            "the group context is signed by members and external committers, and the wire format by everyone",
            "VAL-6.1-1 mls.framing:_signed_content",
        ),
        _item("the membership tag", "VAL-6.2-2"),
        _item("application data only as PrivateMessage", "VAL-6.2-1"),
        _item("padding is zero", "VAL-6.3.1-2"),
        _item("sender data: sampled key, size, a leaf that is not blank", "VAL-6.3.2-1 VAL-6.3.2-2 VAL-6.3.2-3"),
        _item("content decrypts under its authenticated data", "VAL-6.3.1-1"),
        _item("a fresh reuse guard for every message", "mls.messages:send test_vectors"),
        _item(
            "a message of another group or epoch is not for this value",
            "mls.errors:WrongGroupError mls.errors:PastEpochError mls.errors:FutureEpochError test_kinds_of_refusal",
        ),
        _item(
            "our own messages are not processed twice",
            "mls.errors:OwnMessageError test_own_messages_come_back",
        ),
    ),
    "Tree (4, 7.1, 7.7)": (
        _item(
            "tree arithmetic, resolution, filtered paths, growing and truncating",
            "mls.tree.ratchet_tree:RatchetTree test_vectors test_growing_and_shrinking",
        ),
        _item(
            "unmerged leaves are sorted, members below, and listed all the way up",
            "VAL-7.1-1 VAL-12.4.3.1-10 VAL-12.4.3.1-11",
        ),
        _item("node types are known", "VAL-7.1-2"),
    ),
    "Leaves (7.2, 7.3)": (
        _item("credential valid", "VAL-5.3.1-1"),
        _item("signature, over the place in the group", "VAL-7.3-2"),
        _item("required capabilities; version and suite of the group", "VAL-7.3-3 VAL-11.1-1"),
        _item(
            "credential types: its own listed, in use by others supported, supported by others",
            "VAL-7.2-3 VAL-7.3-4",
        ),
        _item(
            "lifetime when sending, and by default when receiving; its length wherever the leaf stands",
            "VAL-7.3-5 VAL-7.2-2 test_lifetimes_of_others_may_be_let_through",
        ),
        _item("extensions among the capabilities", "VAL-7.3-6"),
        _item("the source fits where the leaf comes from", "VAL-7.2-1 VAL-10.1-2 VAL-12.1.2-1 VAL-12.4.2-3"),
        _item("a replacement has a new encryption key", "VAL-7.3-7"),
        _item("keys are unique in the tree", "VAL-7.3-8 VAL-7.3-9"),
        _item(
            "default types are not listed by us, and understood from others",
            "mls.leaf_node:default_capabilities test_default_types_are_not_listed_by_us",
        ),
    ),
    "Hashes of the tree (7.8, 7.9)": (
        _item("the tree hash of a group to join", "VAL-12.4.3.1-9"),
        _item("every parent covered by exactly one chain, on joining", "VAL-7.9.2-1"),
        _item("the path's leaf has the parent hash that follows, on commit", "VAL-7.9-1"),
        _item("original_sibling_tree_hash", "mls.tree.nodes:Cell.tree_hash_without test_vectors"),
    ),
    "Key schedule (8)": (
        _item(
            "schedule, transcript hashes, exporter, authenticator, PSK secret",
            "mls.schedule:advance mls.schedule:confirmed_hash mls.schedule:export mls.psk:psk_secret "
            "test_vectors test_everybody_exports_the_same test_the_authenticator_names_an_epoch",
        ),
        _item("GroupContext: version, an epoch that can be followed", "VAL-8.1-1 VAL-8.1-2"),
        _item("external init", "VAL-8.3-1"),
        _item("PSK types and usages, nonce of length Nh, a count that fits", "VAL-8.4-1 VAL-8.4-2 VAL-12.1.4-1"),
        _item(
            "resumption PSKs are kept for a bounded number of epochs",
            "mls.parameters:Parameters.resumption_psks test_how_far_back_resumption_goes",
        ),
    ),
    "Secret tree (9)": (
        _item(
            "ratchets and the deletion schedule",
            "mls.secret_tree:SecretTree test_every_key_once_and_nothing_that_leads_back test_vectors",
        ),
        _item("a key is used once", "mls.errors:ReplayError test_every_key_once_and_nothing_that_leads_back"),
    ),
    "KeyPackages (10)": (
        _item("version and suite of the group", "VAL-10.1-1"),
        _item("leaf valid, of source key_package", "VAL-10.1-2 VAL-7.3-2"),
        _item("signature", "VAL-10.1-3"),
        _item("init key valid, and not the leaf's key", "VAL-10.1-4 VAL-10.1-5"),
        _item("unknown extensions ignored", "test_unknown_values_are_ignored_where_they_may_be"),
        _item(
            "init keys are unique: drawn fresh",
            "mls.key_package:create_key_package test_the_system_provider_does_not_repeat",
        ),
    ),
    "Creation, reinitialization, branching (11)": (
        _item("a group of one at epoch 0", "mls.founding:create test_a_group_of_one"),
        _item("required capabilities", "VAL-7.3-3"),
        _item(
            "ReInit: epoch 1, the parameters announced, everybody in it, the resumption PSK of the last epoch",
            "VAL-12.4.3.1-15 VAL-12.4.3.1-16 VAL-12.4.3.1-17 VAL-12.4.3.1-20 test_reinit",
        ),
        _item(
            "branch: epoch 1, same version and suite, nobody new",
            "VAL-12.4.3.1-15 VAL-12.4.3.1-18 VAL-12.4.3.1-19 test_branch",
        ),
        _item("founding PSKs found groups and do nothing else", "VAL-12.1.4-2 VAL-12.4.3.1-3"),
    ),
    "Proposals (12.1)": (
        _item("types are known", "VAL-12.1-1"),
        _item("Update: source, new key, our own keys", "VAL-12.1.2-1 VAL-7.3-7 VAL-12.1.2-3"),
        _item("Remove: somebody", "VAL-12.1.3-1"),
        _item("PreSharedKey: nonce, usage", "VAL-12.1.4-1 VAL-12.1.4-2"),
        _item("ReInit: not to a lower version", "VAL-12.1.5-1"),
        _item(
            "GroupContextExtensions: readable, believed, supported",
            "VAL-2.1-1 VAL-5.3.1-1 VAL-7.3-3 VAL-13.4-2 VAL-13.4-3",
        ),
        _item(
            "external senders and newcomers: who, what, as PublicMessage",
            "VAL-12.1.8-1 VAL-12.1.8-2 VAL-12.1.8.1-1 test_what_external_senders_may_propose "
            "test_a_new_member_proposes_itself",
        ),
    ),
    "Lists of regular commits (12.2)": (
        _item("each proposal valid", "VAL-12.1.2-1 VAL-12.1.3-1 VAL-12.1.4-1 VAL-12.1.4-2 VAL-12.1.5-1 VAL-10.1-3"),
        _item("no Update by, and no Remove of, the committer", "VAL-12.2-1 VAL-12.2-2"),
        _item("one change to a leaf", "VAL-12.2-3"),
        _item(
            "no client twice, nor a member again",
            "VAL-12.2-4 VAL-12.2-5 test_an_add_of_a_member_waits_for_the_member_s_remove",
        ),
        _item("no PSK twice, one replacement of the extensions", "VAL-12.2-6 VAL-12.2-7"),
        _item("a ReInit alone, no ExternalInit", "VAL-12.2-8 VAL-12.2-9"),
        _item("types that all who process it support", "VAL-12.2-10"),
        _item("the tree that comes of it is valid", "VAL-7.3-3 VAL-7.3-4 VAL-7.3-8 VAL-7.3-9 VAL-11.1-1 VAL-13.4-2"),
        _item(
            "our own commits keep to the same rules, and leave out what does not fit",
            "mls.commit:choose_pending mls.commit:_fitting "
            "test_our_commit_leaves_out_what_does_not_fit "
            "test_no_proposals_keep_a_member_from_committing",
        ),
    ),
    "Lists of external commits (12.2)": (
        _item("one ExternalInit, at most one Remove, PSKs, nothing else", "VAL-12.2-11 VAL-12.2-12 VAL-12.2-13"),
        _item("the removed leaf was the joiner's", "VAL-5.3.1-2 VAL-7.3-7"),
        _item("no references; a path", "VAL-12.4.3.2-2 VAL-12.4.3.2-3"),
    ),
    "Order of application (12.3)": (
        _item(
            "extensions count for the other proposals; updates, removals, additions in this order",
            "mls.validation:plan mls.tree.ratchet_tree:RatchetTree.evolved "
            "test_required_capabilities_are_those_of_the_next_epoch "
            "test_extensions_and_an_add_that_needs_them",
        ),
        _item("PSKs in the order of the list", "mls.epoch:gather_psks test_a_welcome_with_psks"),
    ),
    "Commits (12.4)": (
        _item("entries are proposals or references", "VAL-12.4-1"),
        _item("a path where one is needed", "VAL-12.4.2-2 test_what_a_pathless_commit_may_hold"),
        _item(
            "waiting proposals are committed before application data is sent",
            "mls.group:seal test_application_data_waits_for_a_commit",
        ),
        _item("making a commit changes nothing (14)", "mls.commit:create_commit test_making_changes_nothing"),
        _item("referenced proposals are here", "mls.errors:MissingProposalsError test_missing_proposals"),
        _item("PSKs are available", "mls.errors:MissingPskError test_missing_psks"),
        _item("the path's leaf valid, of source commit, with a new key", "VAL-12.4.2-3 VAL-7.3-2 VAL-7.3-7"),
        _item("none of the path's keys in the tree", "VAL-12.4.2-4 VAL-7.3-8"),
        _item(
            "as many nodes as the filtered path, as many ciphertexts as the resolution without new leaves",
            "VAL-12.4.2-5 VAL-12.4.2-6",
        ),
        _item(
            "our path secret is there, decrypts, and gives the keys that were sent",
            "VAL-12.4.2-7 VAL-12.4.2-8 VAL-12.4.2-9",
        ),
        _item("the confirmation tag", "VAL-12.4.2-10"),
        _item(
            "a commit that removes us, or a ReInit, ends the group here",
            "mls.state:Ended mls.errors:GroupEndedError test_messages_after_the_end",
        ),
        _item(
            "a refused commit leaves everything as it was",
            "mls.follow:process_commit test_a_refused_message_leaves_no_trace",
        ),
    ),
    "Joining by Welcome (12.4.3.1)": (
        _item("for one of our KeyPackages, of its suite", "VAL-12.4.3.1-1 VAL-12.4.3.1-8"),
        _item("the secrets and the GroupInfo decrypt", "VAL-12.4.3.1-2 VAL-12.4.3.1-4"),
        _item(
            "PSKs: at hand, nonces, one founding key",
            "VAL-12.1.4-1 VAL-12.4.3.1-3 mls.errors:MissingPskError test_missing_psks",
        ),
        _item("signed by a member", "VAL-12.4.3.1-5 VAL-12.4.3.1-6"),
        _item("not a group that we are in", "VAL-12.4.3.1-7"),
        _item(
            "the tree: hash, parent hashes, leaves, unmerged leaves, unique keys",
            "VAL-12.4.3.1-9 VAL-7.9.2-1 VAL-7.3-2 VAL-12.4.3.1-10 VAL-12.4.3.1-11 VAL-7.3-8",
        ),
        _item("our leaf is the KeyPackage's", "VAL-12.4.3.1-12"),
        _item("the path secret leads to the keys of the tree", "VAL-12.4.3.1-13"),
        _item("the confirmation tag", "VAL-12.4.3.1-14"),
    ),
    "Joining by external commit (12.4.3.2, 12.4.3.3)": (
        _item("the GroupInfo has an external public key", "VAL-12.4.3.2-1 VAL-8.3-1"),
        _item("resync: the old leaf is replaced", "VAL-5.3.1-2 test_resync"),
        _item(
            "the ratchet_tree extension: no trailing blanks, nodes where their kind can be",
            "VAL-12.4.3.3-1 VAL-12.4.3.3-2",
        ),
    ),
    "Extensions (13)": (
        _item(
            "unknown capabilities and extensions are ignored where they may be",
            "test_unknown_values_are_ignored_where_they_may_be",
        ),
        _item("extensions of the group are supported by all, and by us", "VAL-13.4-2 VAL-13.4-3"),
        _item("no type twice in a list", "VAL-13.4-1"),
        _item(
            "GREASE is sent, treated like any other number, and refused where it may not be",
            "VAL-12.1-1 VAL-13.4-2 VAL-13.4-3 test_grease_everywhere test_grease_where_it_may_not_be",
        ),
    ),
    "Sequencing and limits (14, 15)": (
        _item(
            "conflicting commits: each is a value beside the other, and whoever holds them chooses",
            "mls.commit:Committed test_two_commits_on_one_parent",
        ),
        _item(
            "a Welcome is handed out by whoever knows that its commit was accepted",
            "mls.commit:Committed test_two_commits_on_one_parent",
        ),
        _item("padding", "mls.parameters:Padding test_padding test_padding_hides_what_it_says"),
        _item(
            "limits of the AEAD: a key seals one message, shorter than a vector can be",
            "mls.codec:MAX_VECTOR test_a_length_beyond_the_form_is_our_bug",
        ),
        _item(
            "limits for steps forward, kept keys and waiting proposals",
            "VAL-15.3-1 mls.parameters:Parameters test_late_messages test_messages_from_far_ahead",
        ),
    ),
    "Hostile insiders (16.12)": (
        _item(
            "a path that only some can follow is refused by the others, who rejoin from outside",
            "VAL-12.4.2-8 VAL-12.4.2-9 test_resync_to_another_leaf",
        ),
    ),
    "Vectors": (_item("every file of the working group", "test_vectors test_the_vectors_are_there"),),
}
