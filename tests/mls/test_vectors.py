"""The working group's vectors, every file in the folder, by the shape of its cases rather than by its name.

A file is checked by the first reader whose fields its cases have; a file that no reader knows fails. The formats are
those of test-vectors.md in the repository mlswg/mls-implementations.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mls import group as mls_group
from mls.codec import Reader, decode_exactly
from mls.credential import Credential
from mls.framing import (
    AuthenticatedContent,
    Commit,
    PrivateMessage,
    PublicMessage,
    encode_message,
    open_private,
    open_public,
    open_sender_data,
    read_wire_format,
)
from mls.key_package import KeyPackage, KeyPackageSecrets
from mls.parameters import Parameters
from mls.proposals import Add, Remove, Update, decode_proposal, encode_proposal
from mls.provider import Environment
from mls.psk import ExternalPskId, psk_secret
from mls.registries import ContentType, GroupId, LeafIndex, WireFormat
from mls.schedule import (
    GroupContext,
    advance,
    confirmation_tag,
    confirmed_hash,
    export,
    external_key_pair,
    interim_hash,
    welcome_key_and_nonce,
    welcome_secret,
)
from mls.secret_tree import APPLICATION, HANDSHAKE, SecretTree
from mls.secrets import (
    CommitSecret,
    ConfirmationKey,
    EncryptionSecret,
    ExternalPsk,
    HpkePrivateKey,
    InitSecret,
    MembershipKey,
    PathSecret,
    PskSecret,
    ResumptionPsk,
    SenderDataSecret,
    SignaturePrivateKey,
)
from mls.suite import Suite
from mls.tree import math
from mls.tree.hashes import check_parent_hashes, check_unmerged_leaves, path_parent_hashes
from mls.tree.path import UpdatePath, check_shape, derive_path, follow_path, merge_path, seal_path
from mls.tree.ratchet_tree import RatchetTree
from mls.welcome import GroupInfo, GroupSecrets, decode_welcome, read_message
from tests.providers import SeededProvider
from tests.requirements import require_or_skip
from tests.vector_files import load, vector_files, vector_folder

Case = dict[str, Any]
PROVIDER = SeededProvider(b"vectors")
PARAMETERS = Parameters(check_received_lifetimes=False)


class TrustAnyone:
    """The vectors name no authentication service: every credential is believed."""

    def validate(self, credential: Credential, signature_key: bytes, now: int) -> None:
        pass

    def succeeds(self, old: Credential, new: Credential) -> bool:
        return True


class VectorPsks:
    """External PSKs from a vector."""

    def __init__(self, case: Case) -> None:
        self.known = {unhex(psk["psk_id"]): unhex(psk["psk"]) for psk in case["external_psks"]}

    def external(self, psk_id: bytes) -> ExternalPsk | None:
        psk = self.known.get(psk_id)
        return None if psk is None else ExternalPsk(psk)

    def resumption(self, group_id: bytes, epoch: int) -> ResumptionPsk | None:
        return None

    def application(self, component_id: int, psk_id: bytes) -> ExternalPsk | None:
        return None


ENV = Environment(provider=PROVIDER, authentication=TrustAnyone(), now=1_700_000_000_000)


def unhex(text: str) -> bytes:
    return bytes.fromhex(text)


def suite_of(case: Case) -> Suite:
    return PROVIDER.suite(case["cipher_suite"])


def crypto_basics(case: Case) -> None:
    suite = suite_of(case)
    ref = case["ref_hash"]
    label = ref["label"].encode()
    assert suite.ref_hash(label, unhex(ref["value"])) == unhex(ref["out"])
    expand = case["expand_with_label"]
    assert suite.expand_with_label(
        unhex(expand["secret"]), expand["label"].encode(), unhex(expand["context"]), expand["length"]
    ) == unhex(expand["out"])
    derive = case["derive_secret"]
    assert suite.derive_secret(unhex(derive["secret"]), derive["label"].encode()) == unhex(derive["out"])
    tree = case["derive_tree_secret"]
    assert suite.derive_tree_secret(
        unhex(tree["secret"]), tree["label"].encode(), tree["generation"], tree["length"]
    ) == unhex(tree["out"])
    sign = case["sign_with_label"]
    private, public = SignaturePrivateKey(unhex(sign["priv"])), unhex(sign["pub"])
    content, label = unhex(sign["content"]), sign["label"].encode()
    assert suite.scheme.public_key(private) == public
    assert suite.verify_with_label(public, label, content, unhex(sign["signature"]))
    assert suite.verify_with_label(public, label, content, suite.sign_with_label(private, label, content))
    assert not suite.verify_with_label(public, label, content + b"x", unhex(sign["signature"]))
    seal = case["encrypt_with_label"]
    key, public = HpkePrivateKey(unhex(seal["priv"])), unhex(seal["pub"])
    assert suite.hpke.public_key(key) == public
    context = suite.encryption_context(seal["label"].encode(), unhex(seal["context"]))
    plain = unhex(seal["plaintext"])
    assert suite.open(key, context, unhex(seal["kem_output"]), unhex(seal["ciphertext"])) == plain
    enc, ciphertext = suite.seal(public, context, plain, PROVIDER.random)
    assert suite.open(key, context, enc, ciphertext) == plain


def deserialization(case: Case) -> None:
    reader = Reader(unhex(case["vlbytes_header"]))
    assert reader.varint() == case["length"]
    reader.finish()


def tree_math(case: Case) -> None:
    leaves = case["n_leaves"]
    assert math.node_width(leaves) == case["n_nodes"]
    top = math.root(leaves)
    assert top == case["root"]
    for node in range(case["n_nodes"]):
        inner = math.level(node) > 0
        assert (math.left(node) if inner else None) == case["left"][node]
        assert (math.right(node) if inner else None) == case["right"][node]
        assert (math.parent(node) if node != top else None) == case["parent"][node]
        assert (math.sibling(node) if node != top else None) == case["sibling"][node]


def secret_tree(case: Case) -> None:
    suite = suite_of(case)
    sender = case["sender_data"]
    sample = unhex(sender["ciphertext"])[: suite.hash_size]
    secret = unhex(sender["sender_data_secret"])
    assert suite.expand_with_label(secret, b"key", sample, suite.key_size) == unhex(sender["key"])
    assert suite.expand_with_label(secret, b"nonce", sample, 12) == unhex(sender["nonce"])
    tree = SecretTree.of(EncryptionSecret(unhex(case["encryption_secret"])), len(case["leaves"]))
    for leaf, generations in enumerate(case["leaves"]):
        for row in generations:
            for kind, name in ((HANDSHAKE, "handshake"), (APPLICATION, "application")):
                tree, key = tree.key_at(
                    suite, LeafIndex(leaf), kind, row["generation"], max_forward=1000, out_of_order=5
                )
                assert key.key == unhex(row[f"{name}_key"])
                assert key.nonce == unhex(row[f"{name}_nonce"])


def message_protection(case: Case) -> None:
    suite = suite_of(case)
    context = GroupContext.of(
        suite.cipher_suite,
        GroupId(unhex(case["group_id"])),
        case["epoch"],
        unhex(case["tree_hash"]),
        unhex(case["confirmed_transcript_hash"]),
        (),
    )
    signer = SignaturePrivateKey(unhex(case["signature_priv"]))
    public_key = unhex(case["signature_pub"])
    membership = MembershipKey(unhex(case["membership_key"]))
    sender_data = SenderDataSecret(unhex(case["sender_data_secret"]))
    keys = SecretTree.of(EncryptionSecret(unhex(case["encryption_secret"])), 2)
    kinds = {
        "proposal": ContentType.PROPOSAL,
        "commit": ContentType.COMMIT,
        "application": ContentType.APPLICATION,
    }
    for name, content_type in kinds.items():
        raw = unhex(case[name])
        for form in ("pub", "priv"):
            field = f"{name}_{form}"
            if field not in case:
                continue
            reader = Reader(unhex(case[field]))
            wire_format = read_wire_format(reader)
            if wire_format == WireFormat.PUBLIC_MESSAGE:
                message = PublicMessage.decode(reader)
                authenticated = open_public(suite, membership, message, context.encoded)
            else:
                private = PrivateMessage.decode(reader)
                data = open_sender_data(suite, sender_data, private)
                kind = APPLICATION if content_type == ContentType.APPLICATION else HANDSHAKE
                _, key = keys.key_at(suite, data.leaf_index, kind, data.generation, max_forward=1000, out_of_order=5)
                authenticated = open_private(suite, private, data, key)
            reader.finish()
            verified = mls_verify(suite, public_key, authenticated, context)
            assert verified.content.content_type == content_type
            body = verified.content.body
            if isinstance(body, bytes):
                assert body == raw
            elif isinstance(body, Commit):
                assert body.encode() == raw
            else:
                assert encode_proposal(body) == raw
        _protect_again(case, suite, context, signer, public_key, membership, sender_data, content_type, raw)


def mls_verify(suite: Suite, key: bytes, authenticated: AuthenticatedContent, context: GroupContext) -> Any:
    from mls.framing import verify

    return verify(suite, key, authenticated, context.encoded)


def _protect_again(
    case: Case,
    suite: Suite,
    context: GroupContext,
    signer: SignaturePrivateKey,
    public_key: bytes,
    membership: MembershipKey,
    sender_data: SenderDataSecret,
    content_type: int,
    raw: bytes,
) -> None:
    """The generation part of the vector: what we seal opens to the same content."""
    from mls.framing import FramedContent, Sender, membership_tag, seal_private, sign

    body: Any = raw
    if content_type == ContentType.PROPOSAL:
        body = decode_exactly(raw, decode_proposal)
    elif content_type == ContentType.COMMIT:
        body = decode_exactly(raw, Commit.decode)
    content = FramedContent.of(context.group_id, context.epoch, Sender(1, 1), b"aad", content_type, body)
    tag = b"tag" if content_type == ContentType.COMMIT else b""
    keys = SecretTree.of(EncryptionSecret(unhex(case["encryption_secret"])), 2)
    if content_type != ContentType.APPLICATION:
        signature = sign(suite, signer, WireFormat.PUBLIC_MESSAGE, content, context.encoded)
        authenticated = AuthenticatedContent(WireFormat.PUBLIC_MESSAGE, content, signature, tag)
        mac = membership_tag(suite, membership, authenticated, context.encoded)
        wire = PublicMessage(authenticated, mac).encode()
        again = open_public(suite, membership, decode_exactly(wire, PublicMessage.decode), context.encoded)
        mls_verify(suite, public_key, again, context)
    signature = sign(suite, signer, WireFormat.PRIVATE_MESSAGE, content, context.encoded)
    authenticated = AuthenticatedContent(WireFormat.PRIVATE_MESSAGE, content, signature, tag)
    kind = APPLICATION if content_type == ContentType.APPLICATION else HANDSHAKE
    _, key = keys.next_key(suite, LeafIndex(1), kind)
    sealed = seal_private(suite, authenticated, key, sender_data, b"abcd", lambda _: 13)
    private = decode_exactly(sealed.encode(), PrivateMessage.decode)
    data = open_sender_data(suite, sender_data, private)
    assert (data.leaf_index, data.generation, data.reuse_guard) == (1, 0, b"abcd")
    mls_verify(suite, public_key, open_private(suite, private, data, key), context)


def key_schedule(case: Case) -> None:
    suite = suite_of(case)
    init = InitSecret(unhex(case["initial_init_secret"]))
    for number, epoch in enumerate(case["epochs"]):
        context = GroupContext.of(
            suite.cipher_suite,
            GroupId(unhex(case["group_id"])),
            number,
            unhex(epoch["tree_hash"]),
            unhex(epoch["confirmed_transcript_hash"]),
            (),
        )
        assert context.encoded == unhex(epoch["group_context"])
        commit = CommitSecret(unhex(epoch["commit_secret"]))
        psk = PskSecret(unhex(epoch["psk_secret"]))
        advanced = advance(suite, init, commit, psk, context.encoded)
        secrets = advanced.secrets
        assert advanced.joiner.raw == unhex(epoch["joiner_secret"])
        assert advanced.welcome.raw == unhex(epoch["welcome_secret"])
        assert advanced.encryption.raw == unhex(epoch["encryption_secret"])
        assert secrets.init.raw == unhex(epoch["init_secret"])
        assert secrets.sender_data.raw == unhex(epoch["sender_data_secret"])
        assert secrets.exporter.raw == unhex(epoch["exporter_secret"])
        assert secrets.authenticator == unhex(epoch["epoch_authenticator"])
        assert secrets.external.raw == unhex(epoch["external_secret"])
        assert secrets.confirmation.raw == unhex(epoch["confirmation_key"])
        assert secrets.membership.raw == unhex(epoch["membership_key"])
        assert secrets.resumption.raw == unhex(epoch["resumption_psk"])
        assert external_key_pair(suite, secrets.external)[1] == unhex(epoch["external_pub"])
        ask = epoch["exporter"]
        assert export(suite, secrets.exporter, ask["label"].encode(), unhex(ask["context"]), ask["length"]) == unhex(
            ask["secret"]
        )
        init = secrets.init


def psk_secrets(case: Case) -> None:
    suite = suite_of(case)
    psks = [(ExternalPskId(unhex(psk["psk_id"]), unhex(psk["psk_nonce"])), unhex(psk["psk"])) for psk in case["psks"]]
    assert psk_secret(suite, list(psks)).raw == unhex(case["psk_secret"])


def transcript_hashes(case: Case) -> None:
    suite = suite_of(case)
    authenticated = decode_exactly(unhex(case["authenticated_content"]), AuthenticatedContent.decode)
    confirmed = confirmed_hash(suite, unhex(case["interim_transcript_hash_before"]), authenticated.transcript_input())
    assert confirmed == unhex(case["confirmed_transcript_hash_after"])
    tag = confirmation_tag(suite, ConfirmationKey(unhex(case["confirmation_key"])), confirmed)
    assert tag == authenticated.confirmation_tag
    assert interim_hash(suite, confirmed, tag) == unhex(case["interim_transcript_hash_after"])


def welcome(case: Case) -> None:
    suite = suite_of(case)
    message = decode_welcome(unhex(case["welcome"]))
    reader = read_message(unhex(case["key_package"]), WireFormat.KEY_PACKAGE)
    package = KeyPackage.decode(reader)
    reader.finish()
    reference = package.reference(suite)
    [sealed] = [secret for secret in message.secrets if secret.new_member == reference]
    context = suite.encryption_context(b"Welcome", message.encrypted_group_info)
    init = HpkePrivateKey(unhex(case["init_priv"]))
    secrets = decode_exactly(suite.open(init, context, sealed.kem_output, sealed.ciphertext), GroupSecrets.decode)
    no_psk = PskSecret(bytes(suite.hash_size))
    key, nonce = welcome_key_and_nonce(suite, welcome_secret(suite, secrets.joiner, no_psk))
    info = decode_exactly(suite.aead_open(key, nonce, b"", message.encrypted_group_info), GroupInfo.decode)
    signer = unhex(case["signer_pub"])
    assert suite.verify_with_label(signer, b"GroupInfoTBS", info.signed_content(), info.signature)
    from mls.schedule import enter_epoch

    advanced = enter_epoch(suite, secrets.joiner, no_psk, info.context.encoded)
    tag = confirmation_tag(suite, advanced.secrets.confirmation, info.context.confirmed_transcript_hash)
    assert tag == info.confirmation_tag


def tree_operations(case: Case) -> None:
    suite = suite_of(case)
    tree = RatchetTree.decode(suite, opaque_body(case["tree_before"]))
    assert tree.hash == unhex(case["tree_hash_before"])
    proposal = decode_exactly(unhex(case["proposal"]), decode_proposal)
    if isinstance(proposal, Add):
        tree, _ = tree.evolved({}, [], [proposal.key_package.leaf_node])
    elif isinstance(proposal, Update):
        tree, _ = tree.evolved({LeafIndex(case["proposal_sender"]): proposal.leaf_node}, [], [])
    else:
        assert isinstance(proposal, Remove)
        tree, _ = tree.evolved({}, [proposal.removed], [])
    assert tree.encode() == unhex(case["tree_after"])
    assert tree.hash == unhex(case["tree_hash_after"])


def opaque_body(text: str) -> bytes:
    return unhex(text)


def tree_validation(case: Case) -> None:
    suite = suite_of(case)
    tree = RatchetTree.decode(suite, unhex(case["tree"]))
    assert tree.encode() == unhex(case["tree"])
    for index, expected in enumerate(case["resolutions"]):
        assert [cell.index for cell in tree.resolution(tree.cell(index))] == expected
    for index, digest in enumerate(case["tree_hashes"]):
        assert tree.cell(index).tree_hash(suite) == unhex(digest)
    check_unmerged_leaves(tree)
    check_parent_hashes(tree)
    group_id = unhex(case["group_id"])
    for index, leaf in tree.leaves():
        content = leaf.signed_content(group_id, index)
        assert suite.verify_with_label(leaf.signature_key, b"LeafNodeTBS", content, leaf.signature)


def treekem(case: Case) -> None:
    suite = suite_of(case)
    tree = RatchetTree.decode(suite, unhex(case["ratchet_tree"]))
    group_id = GroupId(unhex(case["group_id"]))
    confirmed = unhex(case["confirmed_transcript_hash"])
    private: dict[int, dict[int, HpkePrivateKey]] = {}
    signers: dict[int, SignaturePrivateKey] = {}
    for member in case["leaves_private"]:
        index = member["index"]
        keys = {2 * index: HpkePrivateKey(unhex(member["encryption_priv"]))}
        signers[index] = SignaturePrivateKey(unhex(member["signature_priv"]))
        for row in member["path_secrets"]:
            secret = PathSecret(unhex(row["path_secret"]))
            made = derive_path(suite, secret, 1)
            value = tree.cell(row["node"]).value
            assert value is not None
            assert value.encryption_key == made.public[0]
            keys[row["node"]] = made.private[0]
        private[index] = keys
    for row in case["update_paths"]:
        sender = row["sender"]
        path = decode_exactly(unhex(row["update_path"]), UpdatePath.decode)
        assert path.encode() == unhex(row["update_path"])
        whole = tree.path(sender)
        steps = tree.filtered_path(sender)
        check_shape(steps, path, frozenset())
        public = [node.encryption_key for node in path.nodes]
        hashes = path_parent_hashes(suite, steps, public)
        assert path.leaf_node.parent_hash == hashes[-1]
        fresh = merge_path(tree, sender, path.leaf_node, whole, steps, public, hashes)
        assert fresh.hash == unhex(row["tree_hash_after"])
        context = GroupContext.of(suite.cipher_suite, group_id, case["epoch"], fresh.hash, confirmed, ()).encoded
        for receiver, expected in enumerate(row["path_secrets"]):
            if expected is None:
                continue
            followed = follow_path(suite, LeafIndex(receiver), private[receiver], steps, path, context, frozenset())
            assert followed.commit_secret.raw == unhex(row["commit_secret"])
            shared = math.common_ancestor(2 * receiver, 2 * sender)
            made = derive_path(suite, PathSecret(unhex(expected)), 1)
            assert followed.private[shared].raw == made.private[0].raw
        _seal_again(case, suite, tree, sender, private, confirmed, group_id)


def _seal_again(
    case: Case,
    suite: Suite,
    tree: RatchetTree,
    sender: int,
    private: dict[int, dict[int, HpkePrivateKey]],
    confirmed: bytes,
    group_id: GroupId,
) -> None:
    """A path of our own from the same leaf is followed by everybody."""
    steps = tree.filtered_path(sender)
    keys = derive_path(suite, PathSecret(PROVIDER.random(suite.hash_size)), len(steps))
    context = GroupContext.of(suite.cipher_suite, group_id, case["epoch"], tree.hash, confirmed, ()).encoded
    nodes = seal_path(suite, tree, steps, keys, context, frozenset(), PROVIDER.random)
    leaf = tree.leaf(sender)
    assert leaf is not None
    path = UpdatePath(leaf, nodes)
    for receiver, held in private.items():
        if receiver == sender:
            continue
        followed = follow_path(suite, LeafIndex(receiver), held, steps, path, context, frozenset())
        assert followed.commit_secret == keys.commit_secret


def messages(case: Case) -> None:
    def framed(name: str, wire_format: int, decode: Callable[[Reader], Any]) -> None:
        raw = unhex(case[name])
        reader = read_message(raw, wire_format)
        value = decode(reader)
        reader.finish()
        body = value.encoded if isinstance(value, GroupInfo) else value.encode()
        assert encode_message(wire_format, body) == raw

    from mls.welcome import Welcome

    framed("mls_welcome", WireFormat.WELCOME, Welcome.decode)
    framed("mls_group_info", WireFormat.GROUP_INFO, GroupInfo.decode)
    framed("mls_key_package", WireFormat.KEY_PACKAGE, KeyPackage.decode)
    for name in ("public_message_application", "public_message_proposal", "public_message_commit"):
        framed(name, WireFormat.PUBLIC_MESSAGE, PublicMessage.decode)
    framed("private_message", WireFormat.PRIVATE_MESSAGE, PrivateMessage.decode)
    tree = unhex(case["ratchet_tree"])
    assert RatchetTree.decode(PROVIDER.suite(1), tree).encode() == tree
    raw = unhex(case["group_secrets"])
    assert decode_exactly(raw, GroupSecrets.decode).encode() == raw
    raw = unhex(case["commit"])
    assert decode_exactly(raw, Commit.decode).encode() == raw
    for name, kind in (
        ("add_proposal", 1),
        ("update_proposal", 2),
        ("remove_proposal", 3),
        ("pre_shared_key_proposal", 4),
        ("re_init_proposal", 5),
        ("external_init_proposal", 6),
        ("group_context_extensions_proposal", 7),
    ):
        raw = kind.to_bytes(2, "big") + unhex(case[name])
        assert encode_proposal(decode_exactly(raw, decode_proposal)) == raw


def passive_client(case: Case) -> None:
    env = Environment(provider=PROVIDER, authentication=TrustAnyone(), now=1_700_000_000_000, psks=VectorPsks(case))
    reader = read_message(unhex(case["key_package"]), WireFormat.KEY_PACKAGE)
    package = KeyPackageSecrets(
        KeyPackage.decode(reader),
        HpkePrivateKey(unhex(case["init_priv"])),
        HpkePrivateKey(unhex(case["encryption_priv"])),
        SignaturePrivateKey(unhex(case["signature_priv"])),
    )
    reader.finish()
    tree = None if case["ratchet_tree"] is None else unhex(case["ratchet_tree"])
    group, _ = mls_group.join(env, PARAMETERS, unhex(case["welcome"]), [package], tree=tree)
    assert group.authenticator == unhex(case["initial_epoch_authenticator"])
    for epoch in case["epochs"]:
        for proposal in epoch["proposals"]:
            group = mls_group.receive(group, env, unhex(proposal)).group
        event = mls_group.receive(group, env, unhex(epoch["commit"]))
        assert isinstance(event, mls_group.CommitMessage)
        group = event.group
        assert group.authenticator == unhex(epoch["epoch_authenticator"])


SHAPES: list[tuple[set[str], Callable[[Case], None]]] = [
    ({"ref_hash", "expand_with_label"}, crypto_basics),
    ({"vlbytes_header"}, deserialization),
    ({"n_leaves", "n_nodes"}, tree_math),
    ({"encryption_secret", "leaves", "sender_data"}, secret_tree),
    ({"membership_key", "application"}, message_protection),
    ({"initial_init_secret", "epochs"}, key_schedule),
    ({"psks", "psk_secret"}, psk_secrets),
    ({"authenticated_content"}, transcript_hashes),
    ({"tree_before", "tree_after"}, tree_operations),
    ({"resolutions", "tree_hashes"}, tree_validation),
    ({"leaves_private", "update_paths"}, treekem),
    ({"mls_welcome", "private_message"}, messages),
    ({"initial_epoch_authenticator", "welcome"}, passive_client),
    ({"signer_pub", "welcome"}, welcome),
]

FILES = vector_files()


def test_the_vectors_are_there() -> None:
    if not FILES:
        require_or_skip("vectors", f"no test vectors in {vector_folder()}; run `make vectors`")


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_vectors(path: Path) -> None:
    cases = load(path)
    assert cases
    for number, case in enumerate(cases):
        checks = [check for fields, check in SHAPES if fields <= case.keys()]
        assert checks, f"{path.name} has a shape that no reader knows"
        try:
            checks[0](case)
        except BaseException:
            print(f"{path.name}, case {number}, suite {case.get('cipher_suite')}")
            raise
