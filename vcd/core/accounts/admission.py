"""Which versions a conversation's leaves show, and which commits are refused for it.

Somebody who was shut out of an account can still sign for it under the old version. Signatures cannot tell: they hold.
So a commit that shows a version below one that the conversation has seen is refused (`admit`). "The conversation has
seen" means that it stands in the tree that the commit starts from, which is the same at all members; what a member
heard elsewhere does not count here. Fork choice takes what commits show from there: a version that shuts somebody out
strikes what the account's leaf did at the same time under versions below it. And whoever is about to *do* something
(add a member, accept an invitation) goes by all that it knows (`book.Book.superseded`).

An account normally has one leaf; with two, both count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mls.credential import Credential
from vcd.core.accounts.credential import VirtualCredential, read
from vcd.core.accounts.head import Equivocation, Head, check_next, contradiction
from vcd.core.errors import Refused
from vcd.core.names import AccountId


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A version of an account's list that a commit's leaves show, and the tree before did not."""

    account: AccountId
    version: int
    revoked: int
    """The version in which somebody was last shut out. What stands under this one or a later one is not struck."""
    revokes: bool
    """Whether that was after the version that the tree showed."""
    root: bool
    """Whether it was in a new term: the root said so itself, or those whom it lets overrule."""


def head_of(credential: Credential) -> Head | None:
    """The head that a leaf shows; None if it shows none. For credentials that were found good."""
    identity = read(credential)
    return identity.head if isinstance(identity, VirtualCredential) else None


def version_under(credential: Credential) -> int:
    """The version under which a leaf acts; 0 for who has none."""
    head = head_of(credential)
    return 0 if head is None else head.version


def heads(tree: Iterable[Credential]) -> dict[AccountId, Head]:
    """The newest head of each account in a tree. Of two that contradict each other, always the same one."""
    found: dict[AccountId, Head] = {}
    for credential in tree:
        head = head_of(credential)
        if head is None:
            continue
        account = head.account
        known = found.get(account)
        if known is head:  # what was read once is one object
            continue
        if known is None or (known.version, known.digest) < (head.version, head.digest):
            found[account] = head
    return found


def admit(tree: Mapping[AccountId, Head], author: Credential, fresh: Iterable[Credential]) -> tuple[Shown, ...]:
    """What a commit shows that its tree did not, by account; or it is refused.

    `tree` is `heads` of the epoch that it starts from, `author` the credential of the author's leaf there (of a joiner
    from outside, that of its new leaf), `fresh` the credentials of all leaves that it puts into the tree.
    """
    acting = head_of(author)
    if acting is not None:
        _check_newest(tree.get(acting.account), acting)
    brought: dict[AccountId, Head] = {}
    for credential in fresh:
        head = head_of(credential)
        if head is None:
            continue
        _check_newest(tree.get(head.account), head)
        other = brought.setdefault(head.account, head)
        if other.digest != head.digest:
            evidence = contradiction(other, head)
            if evidence is not None:
                raise Equivocation(evidence)
            raise Refused("older-list", "two versions in one commit")
    found = [_shown(tree.get(account), brought[account]) for account in sorted(brought)]
    return tuple(each for each in found if each is not None)


def _check_newest(known: Head | None, head: Head) -> None:
    if known is not None:
        check_next(known, head)


def _shown(known: Head | None, head: Head) -> Shown | None:
    if known is not None and known.digest == head.digest:
        return None
    return Shown(
        account=head.account,
        version=head.version,
        revoked=head.revoked,
        revokes=known is not None and head.revoked > known.version,
        root=known is not None and head.authority.start > known.authority.start,
    )
