"""What can go wrong, as types.

Four origins, four branches, and nothing else leaves `mls` (any other exception is a defect of ours):

* `PeerError`: bytes from outside broke a rule. It names the rule by its number in `mls.checks`, so that a
  log line, a test and docs/validation.md all speak of the same sentence of the RFC.
* `StaleError`: the bytes may be right, but not now: an old or a future epoch, a key already used, our own echo,
  a proposal not seen yet. The subclasses tell these apart because a caller queues, drops or asks accordingly.
* `CallerError`: the local program asked for something it may not have; `hint` says what to do instead.
* `BugError`: we contradicted ourselves.

No message ever holds key material or plaintext.
"""

from __future__ import annotations

from mls.checks import CHECKS


class MlsError(Exception):
    """Something in the protocol layer refused to go on."""

    consumed: object | None = None
    """What the failed operation used up all the same: the value to store in the place of the one that went in."""


class PeerError(MlsError):
    """A message from outside broke a rule of the protocol and was refused; nothing changed."""

    def __init__(self, check: str, detail: str = "") -> None:
        self.check = check
        self.detail = detail
        sentence = CHECKS[check].sentence if check in CHECKS else "an unlisted rule"
        super().__init__(f"{check}: {sentence}" + (f" ({detail})" if detail else ""))


class StaleError(MlsError):
    """A message cannot be used in this state, though it may be valid in another one."""


class WrongGroupError(StaleError):
    """The message belongs to another group."""


class WrongRecipientError(StaleError):
    """The message is for another member of the group."""


class PastEpochError(StaleError):
    """The message belongs to an epoch before this one."""


class FutureEpochError(StaleError):
    """The message belongs to an epoch that is still to come; keep it until then."""


class ReplayError(StaleError):
    """The key of this message was used or deleted already: a repetition, or too late to read."""


class PuncturedError(ReplayError):
    """A puncturable secret was evaluated at this point before; its key was used and deleted."""


class OwnMessageError(StaleError):
    """This is our own message, come back to us."""


class MissingProposalsError(StaleError):
    """A commit names proposals that were not seen yet; ask for them and try again."""

    def __init__(self, references: tuple[bytes, ...]) -> None:
        self.references = references
        super().__init__(f"{len(references)} proposal(s) named by the commit are missing")


class MissingPskError(StaleError):
    """A commit or Welcome uses a pre-shared key that is not available here."""

    def __init__(self, psk_id: bytes) -> None:
        self.psk_id = psk_id
        """Which one: an encoded PreSharedKeyID, as `mls.psk.decode_psk_id` reads it."""
        super().__init__("a pre-shared key that is used is not here; `psk_id` names it")


class UnderivedError(StaleError):
    """Another device that shares our leaf made this, from secrets that are not here (yet)."""

    def __init__(self) -> None:
        super().__init__("a sibling made this from secrets that are not here")


class LimitError(StaleError):
    """Too much of this was taken in already: proposals that wait, commits on one epoch, or what siblings told.

    Nothing was kept. A proposal can be asked for again if a commit turns out to need it.
    """


class GroupEndedError(StaleError):
    """This epoch is the last one here: we were removed, or the group was re-initialized."""


class CallerError(MlsError):
    """The local program used the protocol layer wrongly."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(f"{message}; {hint}" if hint else message)


class BugError(MlsError):
    """The protocol layer contradicted itself; please report this."""
