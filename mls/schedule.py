"""RFC 9420 §8: the key schedule, from one epoch's init secret to the next one's.

`EpochSecrets` is what an epoch keeps. The intermediate secrets (commit, joiner, member, epoch) live only inside
`advance`; whatever an extension derives from `epoch_secret` must be asked for there by a `Recipe`, because afterwards
it is gone. Secrets that are consumed piece by piece are planted as puncturable trees; mls-extensions §4.4 has one in
every group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mls.codec import Reader, opaque, u16, u64
from mls.components.dictionary import Dictionary, dictionary_of
from mls.errors import GroupEndedError, PeerError
from mls.hpke import CryptoError
from mls.leaf_node import Extensions, decode_extensions, encode_extensions
from mls.puncture import Puncturable
from mls.registries import MLS10, Epoch, GroupId
from mls.secrets import (
    CommitSecret,
    ConfirmationKey,
    EncryptionSecret,
    EpochSecret,
    ExporterSecret,
    ExternalSecret,
    HpkePrivateKey,
    InitSecret,
    JoinerSecret,
    MembershipKey,
    PskSecret,
    ResumptionPsk,
    SenderDataSecret,
    WelcomeSecret,
)
from mls.suite import NONCE_SIZE, Random, Suite


@dataclass(frozen=True, slots=True)
class GroupContext:
    """What all members agree on in an epoch (§8.1)."""

    cipher_suite: int
    group_id: GroupId
    epoch: Epoch
    tree_hash: bytes
    confirmed_transcript_hash: bytes
    extensions: Extensions
    dictionary: Dictionary = field(compare=False, repr=False)
    """The application data among the extensions (mls-extensions §4.6)."""
    encoded: bytes = field(compare=False, repr=False)

    @classmethod
    def of(
        cls,
        cipher_suite: int,
        group_id: GroupId,
        epoch: int,
        tree_hash: bytes,
        confirmed_transcript_hash: bytes,
        extensions: Extensions,
    ) -> GroupContext:
        encoded = b"".join(
            [
                u16(MLS10),
                u16(cipher_suite),
                opaque(group_id),
                u64(epoch),
                opaque(tree_hash),
                opaque(confirmed_transcript_hash),
                encode_extensions(extensions),
            ]
        )
        return cls(
            cipher_suite,
            group_id,
            Epoch(epoch),
            tree_hash,
            confirmed_transcript_hash,
            extensions,
            dictionary_of(extensions),
            encoded,
        )

    @classmethod
    def decode(cls, reader: Reader) -> GroupContext:
        start = reader.pos
        if reader.u16() != MLS10:
            raise PeerError("VAL-8.1-1")
        cipher_suite = reader.u16()
        group_id = GroupId(reader.opaque())
        epoch = Epoch(reader.u64())
        tree_hash = reader.opaque()
        confirmed = reader.opaque()
        extensions = decode_extensions(reader)
        dictionary = dictionary_of(extensions)
        encoded = reader.data[start : reader.pos]
        return cls(cipher_suite, group_id, epoch, tree_hash, confirmed, extensions, dictionary, encoded)

    def encode(self) -> bytes:
        return self.encoded


@dataclass(frozen=True, slots=True)
class EpochSecrets:
    """The secrets of Table 4 that outlive the start of their epoch."""

    sender_data: SenderDataSecret
    exporter: ExporterSecret
    external: ExternalSecret
    confirmation: ConfirmationKey
    membership: MembershipKey
    resumption: ResumptionPsk
    authenticator: bytes = field(repr=False)
    epoch_id: bytes = field(repr=False)
    """What tells this epoch from every other one, rivals of the same number included; not secret."""
    init: InitSecret
    extra: tuple[tuple[bytes, EpochSecret], ...] = ()
    """Secrets that extensions asked for at the start of the epoch, by label."""


EXPORTER_TREE = b"application_export"
"""mls-extensions §4.4: the root of the tree that components export from."""
EXPORTER_BITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is derived from an epoch secret beside Table 4."""

    labels: tuple[bytes, ...] = ()
    """Further secrets, whole."""
    trees: tuple[tuple[bytes, int], ...] = ()
    """Further secrets that are consumed in pieces: the label, and the bits of the tree's inputs."""
    epoch_id: bytes | None = None
    """The label of what names the epoch; without one it is named by its authenticator (RFC 9420 §8.7)."""
    init: bool = True
    """Whether the next epoch's init secret is the one of RFC 9420; if not, it comes from one of the trees."""


STANDARD = Recipe()

RESERVED_LABELS = frozenset(
    {
        b"sender data",
        b"encryption",
        b"exporter",
        b"external",
        b"confirm",
        b"membership",
        b"resumption",
        b"authentication",
        b"init",
        EXPORTER_TREE,
        b"parent_init",
        b"epoch",
    }
)
"""What RFC 9420 §8 and the drafts derive from an epoch secret: kept under a second name, it would not be deleted."""

Trees = Mapping[bytes, Puncturable]


@dataclass(frozen=True, slots=True)
class Started:
    """Everything that an epoch secret gave."""

    secrets: EpochSecrets
    encryption: EncryptionSecret
    trees: Trees


@dataclass(frozen=True, slots=True)
class Advanced:
    """The result of one turn of the key schedule."""

    secrets: EpochSecrets
    encryption: EncryptionSecret
    trees: Trees
    joiner: JoinerSecret
    welcome: WelcomeSecret


def derive_epoch(suite: Suite, epoch_secret: EpochSecret, recipe: Recipe = STANDARD) -> Started:
    """Table 4, and whatever extensions add to it."""
    secret = epoch_secret.raw
    derive = suite.derive_secret
    authenticator = derive(secret, b"authentication")
    secrets = EpochSecrets(
        SenderDataSecret(derive(secret, b"sender data")),
        ExporterSecret(derive(secret, b"exporter")),
        ExternalSecret(derive(secret, b"external")),
        ConfirmationKey(derive(secret, b"confirm")),
        MembershipKey(derive(secret, b"membership")),
        ResumptionPsk(derive(secret, b"resumption")),
        authenticator,
        authenticator if recipe.epoch_id is None else derive(secret, recipe.epoch_id),
        InitSecret(derive(secret, b"init") if recipe.init else b""),
        tuple([(label, EpochSecret(derive(secret, label))) for label in recipe.labels]),
    )
    trees = {EXPORTER_TREE: Puncturable.of(derive(secret, EXPORTER_TREE), EXPORTER_BITS)}
    for label, bits in recipe.trees:
        trees[label] = Puncturable.of(derive(secret, label), bits)
    return Started(secrets, EncryptionSecret(derive(secret, b"encryption")), trees)


def joiner_secret(suite: Suite, init: InitSecret, commit: CommitSecret, context: bytes) -> JoinerSecret:
    extracted = suite.extract(init.raw, commit.raw)
    return JoinerSecret(suite.expand_with_label(extracted, b"joiner", context, suite.hash_size))


def member_secret(suite: Suite, joiner: JoinerSecret, psk: PskSecret) -> bytes:
    return suite.extract(joiner.raw, psk.raw)


def welcome_secret(suite: Suite, joiner: JoinerSecret, psk: PskSecret) -> WelcomeSecret:
    return WelcomeSecret(suite.derive_secret(member_secret(suite, joiner, psk), b"welcome"))


def welcome_key_and_nonce(suite: Suite, welcome: WelcomeSecret) -> tuple[bytes, bytes]:
    key = suite.expand_with_label(welcome.raw, b"key", b"", suite.key_size)
    return key, suite.expand_with_label(welcome.raw, b"nonce", b"", NONCE_SIZE)


def enter_epoch(
    suite: Suite, joiner: JoinerSecret, psk: PskSecret, context: bytes, recipe: Recipe = STANDARD
) -> Advanced:
    """From the joiner secret on: where new members enter the key schedule."""
    member = member_secret(suite, joiner, psk)
    epoch = EpochSecret(suite.expand_with_label(member, b"epoch", context, suite.hash_size))
    started = derive_epoch(suite, epoch, recipe)
    welcome = WelcomeSecret(suite.derive_secret(member, b"welcome"))
    return Advanced(started.secrets, started.encryption, started.trees, joiner, welcome)


def advance(
    suite: Suite,
    init: InitSecret,
    commit: CommitSecret,
    psk: PskSecret,
    context: bytes,
    recipe: Recipe = STANDARD,
) -> Advanced:
    """One commit's step of the key schedule."""
    return enter_epoch(suite, joiner_secret(suite, init, commit, context), psk, context, recipe)


def export(suite: Suite, exporter: ExporterSecret, label: bytes, context: bytes, length: int) -> bytes:
    """MLS-Exporter (§8.5)."""
    if not exporter.raw:
        raise GroupEndedError("this epoch was left, and its exporter secret deleted")
    derived = suite.derive_secret(exporter.raw, label)
    return suite.expand_with_label(derived, b"exported", suite.hash(context), length)


def external_key_pair(suite: Suite, external: ExternalSecret) -> tuple[HpkePrivateKey, bytes]:
    if not external.raw:
        raise GroupEndedError("this epoch was left, and takes nobody in from outside any more")
    return suite.derive_key_pair(external.raw)


_EXTERNAL_INIT = b"MLS 1.0 external init secret"


def send_external_init(suite: Suite, external_pub: bytes, random: Random) -> tuple[bytes, InitSecret]:
    """§8.3: the KEM output to send, and the init secret that it stands for."""
    try:
        kem_output, secret = suite.hpke.send_export(external_pub, b"", _EXTERNAL_INIT, suite.hash_size, random)
    except CryptoError:
        raise PeerError("VAL-8.3-1") from None
    return kem_output, InitSecret(secret)


def receive_external_init(suite: Suite, external: ExternalSecret, kem_output: bytes) -> InitSecret:
    private, _ = external_key_pair(suite, external)
    try:
        return InitSecret(suite.hpke.receive_export(private, kem_output, b"", _EXTERNAL_INIT, suite.hash_size))
    except CryptoError:
        raise PeerError("VAL-8.3-1") from None


def confirmation_tag(suite: Suite, key: ConfirmationKey, confirmed_transcript_hash: bytes) -> bytes:
    return suite.mac(key.raw, confirmed_transcript_hash)


def confirmed_hash(suite: Suite, interim: bytes, signed: bytes) -> bytes:
    """§8.2; `signed` is ConfirmedTranscriptHashInput."""
    return suite.hash(interim + signed)


def interim_hash(suite: Suite, confirmed: bytes, tag: bytes) -> bytes:
    return suite.hash(confirmed + opaque(tag))
