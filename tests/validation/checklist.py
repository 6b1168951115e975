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
    rules: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()


def _flows(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/mls/test_flows.py::{name}" for name in names)


def _values(*names: str) -> tuple[str, ...]:
    return tuple(f"tests/mls/test_values.py::{name}" for name in names)


VECTORS = "tests/mls/test_vectors.py::test_vectors"

CHECKLIST: dict[str, tuple[Item, ...]] = {
    "Encoding (2.1)": (
        Item(
            asks="lengths fit, in their shortest form; nothing is left over",
            rules=("VAL-2.1-1", "VAL-2.1-2", "VAL-2.1-3", "VAL-2.1-5"),
        ),
        Item(asks="an optional is absent or present", rules=("VAL-2.1-4",)),
    ),
    "Cipher suites and labels (5, 17.1)": (
        Item(
            asks="seven suites and their parts",
            code=("mls.suite:SUITES",),
            tests=(VECTORS, "tests/mls/test_suite.py::test_crypto_basics_of_the_working_group"),
        ),
        Item(
            asks="labels of signatures, encryption, references and secrets",
            code=("mls.suite:Suite",),
            tests=("tests/mls/test_suite.py::test_labels_are_laid_out_as_in_the_rfc",),
        ),
        Item(
            asks="public keys are valid for the suite; none that nothing can be sealed to",
            rules=("VAL-10.1-5",),
            code=("mls.hpke:SMALL_ORDER",),
        ),
        Item(
            asks="one answer to which signatures are valid",
            code=("mls.ed25519:well_formed",),
            tests=("tests/mls/test_suite.py::test_signatures",),
        ),
    ),
    "Credentials (5.3)": (
        Item(asks="basic and x509; others cannot be read", rules=("VAL-5.3-1",)),
        Item(
            asks="the chain, and its end entity's key",
            rules=("VAL-5.3-2", "VAL-5.3-3", "VAL-5.3-4", "VAL-5.3-5", "VAL-5.3-6", "VAL-5.3-7", "VAL-5.3-8"),
        ),
        Item(
            asks="validated at every event of 5.3.1: KeyPackage to add, Add, Update, path, tree and GroupInfo to join, external senders",
            rules=("VAL-5.3.1-1",),
        ),
        Item(asks="a replacement is a successor", rules=("VAL-5.3.1-2",)),
        Item(asks="expiry and revocation", rules=("VAL-5.3.2-1", "VAL-5.3.2-2")),
    ),
    "Framing (6)": (
        Item(
            asks="version, wire format, sender type and content type are known",
            rules=("VAL-6-1", "VAL-6-2", "VAL-6-3", "VAL-6-4"),
        ),
        Item(
            asks="who may send what, and whose key signs it",
            rules=("VAL-6-5", "VAL-6-6", "VAL-6.1-1", "VAL-12.1.8-1", "VAL-12.1.8-2", "VAL-12.1.8.1-1"),
        ),
        Item(
            asks="the group context is signed by members and external committers, and the wire format by everyone",
            rules=("VAL-6.1-1",),
            code=("mls.framing:_signed_content",),
        ),
        Item(asks="the membership tag", rules=("VAL-6.2-2",)),
        Item(asks="application data only as PrivateMessage", rules=("VAL-6.2-1",)),
        Item(asks="padding is zero", rules=("VAL-6.3.1-2",)),
        Item(
            asks="sender data: sampled key, size, a leaf that is not blank",
            rules=("VAL-6.3.2-1", "VAL-6.3.2-2", "VAL-6.3.2-3"),
        ),
        Item(asks="content decrypts under its authenticated data", rules=("VAL-6.3.1-1",)),
        Item(asks="a fresh reuse guard for every message", code=("mls.messages:send",), tests=(VECTORS,)),
        Item(
            asks="a message of another group or epoch is not for this value",
            code=("mls.errors:WrongGroupError", "mls.errors:PastEpochError", "mls.errors:FutureEpochError"),
            tests=_flows("test_kinds_of_refusal"),
        ),
        Item(
            asks="our own messages are not processed twice",
            code=("mls.errors:OwnMessageError",),
            tests=_values("test_own_messages_come_back"),
        ),
    ),
    "Tree (4, 7.1, 7.7)": (
        Item(
            asks="tree arithmetic, resolution, filtered paths, growing and truncating",
            code=("mls.tree.ratchet_tree:RatchetTree",),
            tests=(VECTORS, *_flows("test_growing_and_shrinking")),
        ),
        Item(
            asks="unmerged leaves are sorted, members below, and listed all the way up",
            rules=("VAL-7.1-1", "VAL-12.4.3.1-10", "VAL-12.4.3.1-11"),
        ),
        Item(asks="node types are known", rules=("VAL-7.1-2",)),
    ),
    "Leaves (7.2, 7.3)": (
        Item(asks="credential valid", rules=("VAL-5.3.1-1",)),
        Item(asks="signature, over the place in the group", rules=("VAL-7.3-2",)),
        Item(asks="required capabilities; version and suite of the group", rules=("VAL-7.3-3", "VAL-11.1-1")),
        Item(
            asks="credential types: its own listed, in use by others supported, supported by others",
            rules=("VAL-7.2-3", "VAL-7.3-4"),
        ),
        Item(
            asks="lifetime when sending, and by default when receiving; its length wherever the leaf stands",
            rules=("VAL-7.3-5", "VAL-7.2-2"),
            tests=("tests/mls/test_validation_leaves.py::test_lifetimes_of_others_may_be_let_through",),
        ),
        Item(asks="extensions among the capabilities", rules=("VAL-7.3-6",)),
        Item(
            asks="the source fits where the leaf comes from",
            rules=("VAL-7.2-1", "VAL-10.1-2", "VAL-12.1.2-1", "VAL-12.4.2-3"),
        ),
        Item(asks="a replacement has a new encryption key", rules=("VAL-7.3-7",)),
        Item(asks="keys are unique in the tree", rules=("VAL-7.3-8", "VAL-7.3-9")),
        Item(
            asks="default types are not listed by us, and understood from others",
            code=("mls.leaf_node:default_capabilities",),
            tests=("tests/mls/test_validation_leaves.py::test_default_types_are_not_listed_by_us",),
        ),
    ),
    "Hashes of the tree (7.8, 7.9)": (
        Item(asks="the tree hash of a group to join", rules=("VAL-12.4.3.1-9",)),
        Item(asks="every parent covered by exactly one chain, on joining", rules=("VAL-7.9.2-1", "VAL-7.9-2")),
        Item(asks="the path's leaf has the parent hash that follows, on commit", rules=("VAL-7.9-1",)),
        Item(asks="original_sibling_tree_hash", code=("mls.tree.nodes:Cell.tree_hash_without",), tests=(VECTORS,)),
    ),
    "Key schedule (8)": (
        Item(
            asks="schedule, transcript hashes, exporter, authenticator, PSK secret",
            code=("mls.schedule:advance", "mls.schedule:confirmed_hash", "mls.schedule:export", "mls.psk:psk_secret"),
            tests=(VECTORS, *_flows("test_everybody_exports_the_same", "test_the_authenticator_names_an_epoch")),
        ),
        Item(asks="GroupContext: version, an epoch that can be followed", rules=("VAL-8.1-1", "VAL-8.1-2")),
        Item(asks="external init", rules=("VAL-8.3-1",)),
        Item(
            asks="PSK types and usages, nonce of length Nh, a count that fits",
            rules=("VAL-8.4-1", "VAL-8.4-2", "VAL-12.1.4-1"),
        ),
        Item(
            asks="resumption PSKs are kept for a bounded number of epochs",
            code=("mls.parameters:Parameters.resumption_psks",),
            tests=_flows("test_how_far_back_resumption_goes"),
        ),
    ),
    "Secret tree (9)": (
        Item(
            asks="ratchets and the deletion schedule",
            code=("mls.secret_tree:SecretTree",),
            tests=("tests/mls/test_secret_tree.py::test_every_key_once_and_nothing_that_leads_back", VECTORS),
        ),
        Item(
            asks="a key is used once",
            code=("mls.errors:ReplayError",),
            tests=("tests/mls/test_secret_tree.py::test_every_key_once_and_nothing_that_leads_back",),
        ),
    ),
    "KeyPackages (10)": (
        Item(asks="version and suite of the group", rules=("VAL-10.1-1",)),
        Item(asks="leaf valid, of source key_package", rules=("VAL-10.1-2", "VAL-7.3-2")),
        Item(asks="signature", rules=("VAL-10.1-3",)),
        Item(asks="init key valid, and not the leaf's key", rules=("VAL-10.1-4", "VAL-10.1-5")),
        Item(
            asks="unknown extensions ignored",
            tests=("tests/mls/test_validation_extensions.py::test_unknown_values_are_ignored_where_they_may_be",),
        ),
        Item(
            asks="init keys are unique: drawn fresh",
            code=("mls.key_package:create_key_package",),
            tests=("tests/mls/test_suite.py::test_the_system_provider_does_not_repeat",),
        ),
    ),
    "Creation, reinitialization, branching (11)": (
        Item(asks="a group of one at epoch 0", code=("mls.group:create",), tests=_flows("test_a_group_of_one")),
        Item(asks="required capabilities", rules=("VAL-7.3-3",)),
        Item(
            asks="ReInit: epoch 1, the parameters announced, everybody in it, the resumption PSK of the last epoch",
            rules=("VAL-12.4.3.1-15", "VAL-12.4.3.1-16", "VAL-12.4.3.1-17"),
            tests=_flows("test_reinit"),
        ),
        Item(
            asks="branch: epoch 1, same version and suite, nobody new",
            rules=("VAL-12.4.3.1-15", "VAL-12.4.3.1-18", "VAL-12.4.3.1-19"),
            tests=_flows("test_branch"),
        ),
        Item(asks="founding PSKs found groups and do nothing else", rules=("VAL-12.1.4-2", "VAL-12.4.3.1-3")),
    ),
    "Proposals (12.1)": (
        Item(asks="types are known", rules=("VAL-12.1-1",)),
        Item(asks="Update: source, new key, our own keys", rules=("VAL-12.1.2-1", "VAL-7.3-7", "VAL-12.1.2-3")),
        Item(asks="Remove: somebody", rules=("VAL-12.1.3-1",)),
        Item(asks="PreSharedKey: nonce, usage", rules=("VAL-12.1.4-1", "VAL-12.1.4-2")),
        Item(asks="ReInit: not to a lower version", rules=("VAL-12.1.5-1",)),
        Item(
            asks="GroupContextExtensions: readable, believed, supported",
            rules=("VAL-2.1-1", "VAL-5.3.1-1", "VAL-7.3-3", "VAL-13.4-2", "VAL-13.4-3"),
        ),
        Item(
            asks="external senders and newcomers: who, what, as PublicMessage",
            rules=("VAL-12.1.8-1", "VAL-12.1.8-2", "VAL-12.1.8.1-1"),
            tests=_flows("test_what_external_senders_may_propose", "test_a_new_member_proposes_itself"),
        ),
    ),
    "Lists of regular commits (12.2)": (
        Item(
            asks="each proposal valid",
            rules=("VAL-12.1.2-1", "VAL-12.1.3-1", "VAL-12.1.4-1", "VAL-12.1.4-2", "VAL-12.1.5-1", "VAL-10.1-3"),
        ),
        Item(asks="no Update by, and no Remove of, the committer", rules=("VAL-12.2-1", "VAL-12.2-2")),
        Item(asks="one change to a leaf", rules=("VAL-12.2-3",)),
        Item(
            asks="no client twice, nor a member again",
            rules=("VAL-12.2-4", "VAL-12.2-5"),
            tests=("tests/mls/test_validation_lists.py::test_an_add_of_a_member_waits_for_the_member_s_remove",),
        ),
        Item(asks="no PSK twice, one replacement of the extensions", rules=("VAL-12.2-6", "VAL-12.2-7")),
        Item(asks="a ReInit alone, no ExternalInit", rules=("VAL-12.2-8", "VAL-12.2-9")),
        Item(asks="types that all who process it support", rules=("VAL-12.2-10",)),
        Item(
            asks="the tree that comes of it is valid",
            rules=("VAL-7.3-3", "VAL-7.3-4", "VAL-7.3-8", "VAL-7.3-9", "VAL-11.1-1", "VAL-13.4-2"),
        ),
        Item(
            asks="our own commits keep to the same rules, and leave out what does not fit",
            code=("mls.commit:choose_pending", "mls.commit:_fitting"),
            tests=(
                "tests/mls/test_validation_lists.py::test_our_commit_leaves_out_what_does_not_fit",
                *_flows("test_no_proposals_keep_a_member_from_committing"),
            ),
        ),
    ),
    "Lists of external commits (12.2)": (
        Item(
            asks="one ExternalInit, at most one Remove, PSKs, nothing else",
            rules=("VAL-12.2-11", "VAL-12.2-12", "VAL-12.2-13"),
        ),
        Item(asks="the removed leaf was the joiner's", rules=("VAL-5.3.1-2", "VAL-7.3-7")),
        Item(asks="no references; a path", rules=("VAL-12.4.3.2-2", "VAL-12.4.3.2-3")),
    ),
    "Order of application (12.3)": (
        Item(
            asks="extensions count for the other proposals; updates, removals, additions in this order",
            code=("mls.validation:plan", "mls.tree.ratchet_tree:RatchetTree.evolved"),
            tests=(
                "tests/mls/test_validation_leaves.py::test_required_capabilities_are_those_of_the_next_epoch",
                *_flows("test_extensions_and_an_add_that_needs_them"),
            ),
        ),
        Item(
            asks="PSKs in the order of the list",
            code=("mls.epoch:gather_psks",),
            tests=_flows("test_a_welcome_with_psks"),
        ),
    ),
    "Commits (12.4)": (
        Item(asks="entries are proposals or references", rules=("VAL-12.4-1",)),
        Item(
            asks="a path where one is needed",
            rules=("VAL-12.4.2-2",),
            tests=_flows("test_what_a_pathless_commit_may_hold"),
        ),
        Item(
            asks="waiting proposals are committed before application data is sent",
            code=("mls.group:seal",),
            tests=_flows("test_application_data_waits_for_a_commit"),
        ),
        Item(
            asks="making a commit changes nothing (14)",
            code=("mls.commit:create_commit",),
            tests=_values("test_making_changes_nothing"),
        ),
        Item(
            asks="referenced proposals are here",
            code=("mls.errors:MissingProposalsError",),
            tests=_flows("test_missing_proposals"),
        ),
        Item(asks="PSKs are available", code=("mls.errors:MissingPskError",), tests=_flows("test_missing_psks")),
        Item(
            asks="the path's leaf valid, of source commit, with a new key",
            rules=("VAL-12.4.2-3", "VAL-7.3-2", "VAL-7.3-7"),
        ),
        Item(asks="none of the path's keys in the tree", rules=("VAL-12.4.2-4", "VAL-7.3-8")),
        Item(
            asks="as many nodes as the filtered path, as many ciphertexts as the resolution without new leaves",
            rules=("VAL-12.4.2-5", "VAL-12.4.2-6"),
        ),
        Item(
            asks="our path secret is there, decrypts, and gives the keys that were sent",
            rules=("VAL-12.4.2-7", "VAL-12.4.2-8", "VAL-12.4.2-9"),
        ),
        Item(asks="the confirmation tag", rules=("VAL-12.4.2-10",)),
        Item(
            asks="a commit that removes us, or a ReInit, ends the group here",
            code=("mls.state:Ended", "mls.errors:GroupEndedError"),
            tests=_flows("test_messages_after_the_end"),
        ),
        Item(
            asks="a refused commit leaves everything as it was",
            code=("mls.follow:process_commit",),
            tests=_values("test_a_refused_message_leaves_no_trace"),
        ),
    ),
    "Joining by Welcome (12.4.3.1)": (
        Item(asks="for one of our KeyPackages, of its suite", rules=("VAL-12.4.3.1-1", "VAL-12.4.3.1-8")),
        Item(asks="the secrets and the GroupInfo decrypt", rules=("VAL-12.4.3.1-2", "VAL-12.4.3.1-4")),
        Item(
            asks="PSKs: at hand, nonces, one founding key",
            rules=("VAL-12.1.4-1", "VAL-12.4.3.1-3"),
            code=("mls.errors:MissingPskError",),
            tests=_flows("test_missing_psks"),
        ),
        Item(asks="signed by a member", rules=("VAL-12.4.3.1-5", "VAL-12.4.3.1-6")),
        Item(asks="not a group that we are in", rules=("VAL-12.4.3.1-7",)),
        Item(
            asks="the tree: hash, parent hashes, leaves, unmerged leaves, unique keys",
            rules=("VAL-12.4.3.1-9", "VAL-7.9.2-1", "VAL-7.3-2", "VAL-12.4.3.1-10", "VAL-12.4.3.1-11", "VAL-7.3-8"),
        ),
        Item(asks="our leaf is the KeyPackage's", rules=("VAL-12.4.3.1-12",)),
        Item(asks="the path secret leads to the keys of the tree", rules=("VAL-12.4.3.1-13",)),
        Item(asks="the confirmation tag", rules=("VAL-12.4.3.1-14",)),
    ),
    "Joining by external commit (12.4.3.2, 12.4.3.3)": (
        Item(asks="the GroupInfo has an external public key", rules=("VAL-12.4.3.2-1", "VAL-8.3-1")),
        Item(asks="resync: the old leaf is replaced", rules=("VAL-5.3.1-2",), tests=_flows("test_resync")),
        Item(
            asks="the ratchet_tree extension: no trailing blanks, nodes where their kind can be",
            rules=("VAL-12.4.3.3-1", "VAL-12.4.3.3-2"),
        ),
    ),
    "Extensions (13)": (
        Item(
            asks="unknown capabilities and extensions are ignored where they may be",
            tests=("tests/mls/test_validation_extensions.py::test_unknown_values_are_ignored_where_they_may_be",),
        ),
        Item(asks="extensions of the group are supported by all, and by us", rules=("VAL-13.4-2", "VAL-13.4-3")),
        Item(asks="no type twice in a list", rules=("VAL-13.4-1",)),
        Item(
            asks="GREASE is sent, treated like any other number, and refused where it may not be",
            rules=("VAL-12.1-1", "VAL-13.4-2", "VAL-13.4-3"),
            tests=_flows("test_grease_everywhere", "test_grease_where_it_may_not_be"),
        ),
    ),
    "Sequencing and limits (14, 15)": (
        Item(
            asks="conflicting commits: each is a value beside the other, and whoever holds them chooses",
            code=("mls.commit:Committed",),
            tests=_values("test_two_commits_on_one_parent"),
        ),
        Item(
            asks="a Welcome is handed out by whoever knows that its commit was accepted",
            code=("mls.commit:Committed",),
            tests=_values("test_two_commits_on_one_parent"),
        ),
        Item(
            asks="padding",
            code=("mls.parameters:Padding",),
            tests=_flows("test_padding", "test_padding_hides_what_it_says"),
        ),
        Item(
            asks="limits of the AEAD: a key seals one message, shorter than a vector can be",
            code=("mls.codec:MAX_VECTOR",),
            tests=("tests/mls/test_codec.py::test_a_length_beyond_the_form_is_our_bug",),
        ),
        Item(
            asks="limits for steps forward, kept keys and waiting proposals",
            rules=("VAL-15.3-1", "VAL-15-1"),
            code=("mls.parameters:Parameters",),
            tests=_flows("test_late_messages", "test_messages_from_far_ahead"),
        ),
    ),
    "Hostile insiders (16.12)": (
        Item(
            asks="a path that only some can follow is refused by the others, who rejoin from outside",
            rules=("VAL-12.4.2-8", "VAL-12.4.2-9"),
            tests=_flows("test_resync_to_another_leaf"),
        ),
    ),
    "Vectors": (
        Item(
            asks="every file of the working group",
            tests=(VECTORS, "tests/mls/test_vectors.py::test_the_vectors_are_there"),
        ),
    ),
}
