"""RFC 9420 §5.3: credentials that cannot be read, are not believed, or belong to somebody else.

Certificate chains are in test_x509.py, test_x509_refusals.py and test_x509_hostile.py.
"""

from __future__ import annotations

from mls import group as front
from mls.codec import opaque
from mls.credential import BasicCredential, Credential, TrustBasic, X509Credential
from mls.leaf_node import Extension
from mls.proposals import ExternalSender, GroupContextExtensions, Proposal, Remove, external_senders_extension
from mls.registries import LeafIndex
from tests.mls.clients import client, environment, party
from tests.mls.frankenstein import (
    PathSurgery,
    Raw,
    external_init,
    forge_commit,
    forge_package,
    own_update,
    proposed,
)
from tests.mls.refusals import (
    A,
    B,
    C,
    refused,
    refuses,
    refuses_in_path,
    refuses_in_tree,
    refuses_to_add,
    refuses_update,
)
from tests.validation import breaks

UNKNOWN = Raw(b"\x00\x03" + opaque(b"who"), type=3)
DISTRUSTED = X509Credential((b"no certificate",))
SOMEBODY_ELSE = BasicCredential(b"somebody else")
STRANGER = client("stranger")
STRANGER_KEY = party(1)[A].suite.scheme.public_key(STRANGER.signer)


def external_senders(credential: object) -> tuple[Extension, ...]:
    return (external_senders_extension((ExternalSender(STRANGER_KEY, credential),)),)  # type: ignore[arg-type]


@breaks("VAL-5.3-1")
def test_an_unknown_credential_type_in_a_leaf() -> None:
    party_ = party(3)
    env = party_.env
    refuses_update("VAL-5.3-1", party_, credential=UNKNOWN)
    refuses_in_path("VAL-5.3-1", party_, credential=UNKNOWN)
    bad = forge_package(STRANGER, env, credential=UNKNOWN).key_package
    good = forge_package(STRANGER, env).key_package
    refuses(
        "VAL-5.3-1",
        party_,
        A,
        proposed(party_[B], env, Raw(bad.encoded, type=1)),
        proposed(party_[B], env, Raw(good.encoded, type=1)),
    )
    refuses_in_tree("VAL-5.3-1", env, credential=UNKNOWN)


@breaks("VAL-5.3-1")
def test_an_unknown_credential_type_of_an_external_sender() -> None:
    party_ = party(2)
    env = party_.env
    commits = [
        forge_commit(party_[B], env, party_.clients[B], [GroupContextExtensions(external_senders(credential))])
        for credential in (UNKNOWN, STRANGER.credential)
    ]
    refuses("VAL-5.3-1", party_, A, commits[0].message, commits[1].message)


@breaks("VAL-5.3.1-1")
def test_a_credential_that_is_not_believed_in_a_key_package() -> None:
    env = environment("credentials")
    bad = forge_package(STRANGER, env, credential=DISTRUSTED)
    refuses_to_add("VAL-5.3.1-1", party(2), bad, forge_package(STRANGER, env))


@breaks("VAL-5.3.1-1")
def test_a_credential_that_is_not_believed_in_an_update_or_a_path() -> None:
    """The old credential would have to be distrusted too for the new one to succeed it, so trust is asked by key."""

    class Choosy(TrustBasic):
        def validate(self, credential: Credential, signature_key: bytes, now: int) -> None:
            if signature_key == STRANGER_KEY:
                super().validate(DISTRUSTED, signature_key, now)

    party_ = party(3)
    env = party_.env
    party_.env = environment("choosy", authentication=Choosy())
    moved = {"signature_key": STRANGER_KEY}
    bad = own_update(party_[B], client("stranger"), env, credential=party_.clients[B].credential)
    good = own_update(party_[B], party_.clients[B], env)
    refuses("VAL-5.3.1-1", party_, A, proposed(party_[B], env, bad), proposed(party_[B], env, good))
    leaf = {"credential": party_.clients[B].credential, **moved}
    surgery = PathSurgery(leaf=leaf, client=STRANGER)
    refuses(
        "VAL-5.3.1-1",
        party_,
        A,
        forge_commit(party_[B], env, party_.clients[B], path=surgery).message,
        forge_commit(party_[B], env, party_.clients[B]).message,
    )


@breaks("VAL-5.3.1-1")
def test_a_credential_that_is_not_believed_in_an_external_commit() -> None:
    party_ = party(2)
    init, secret = external_init(party_[A], party_.env)
    surgery = PathSurgery(leaf={"credential": DISTRUSTED})
    bad = forge_commit(party_[A], party_.env, STRANGER, [init], external=secret, path=surgery)
    good = forge_commit(party_[A], party_.env, STRANGER, [init], external=secret)
    refuses("VAL-5.3.1-1", party_, B, bad.message, good.message)


@breaks("VAL-5.3.1-1")
def test_a_credential_that_is_not_believed_in_the_tree_of_a_group_to_join() -> None:
    refuses_in_tree("VAL-5.3.1-1", environment("tree"), credential=DISTRUSTED)


@breaks("VAL-5.3.1-1")
def test_an_external_sender_that_is_not_believed() -> None:
    bad, good = external_senders(DISTRUSTED), external_senders(STRANGER.credential)
    party_ = party(2)
    env = party_.env
    refused("VAL-5.3.1-1", lambda: front.commit(party_[A], env, proposals=[GroupContextExtensions(bad)]))
    refused("VAL-5.3.1-1", lambda: STRANGER.create(env, extensions=bad))
    proposals = [proposed(party_[B], env, GroupContextExtensions(each)) for each in (bad, good)]
    refuses("VAL-5.3.1-1", party_, A, *proposals)
    commits = [
        forge_commit(party_[B], env, party_.clients[B], [GroupContextExtensions(each)]).message for each in (bad, good)
    ]
    refuses("VAL-5.3.1-1", party_, A, *commits)
    refuses_in_tree("VAL-5.3.1-1", env, group_extensions=good, bad_extensions=bad)


@breaks("VAL-5.3.1-2")
def test_a_new_credential_of_somebody_else() -> None:
    refuses_update("VAL-5.3.1-2", party(3), credential=SOMEBODY_ELSE)
    refuses_in_path("VAL-5.3.1-2", party(3), credential=SOMEBODY_ELSE)


@breaks("VAL-5.3.1-2")
def test_a_resync_in_somebody_else_s_name() -> None:
    """§12.2: an external commit may remove only an earlier self."""
    party_ = party(3)
    env = party_.env
    init, secret = external_init(party_[A], env)
    proposals: list[Proposal] = [init, Remove(LeafIndex(2))]
    bad = forge_commit(party_[A], env, STRANGER, proposals, external=secret)
    good = forge_commit(party_[A], env, party_.clients[C], proposals, external=secret)
    refuses("VAL-5.3.1-2", party_, B, bad.message, good.message)
    refuses("VAL-5.3.1-2", party_, C, bad.message, good.message)  # who is not so easily removed by a stranger
    info = front.group_info(party_[A])
    refused("VAL-5.3.1-2", lambda: STRANGER.join_externally(env, info, remove=LeafIndex(2)))
    party_.clients[C].join_externally(env, info, remove=LeafIndex(2))
