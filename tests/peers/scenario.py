"""The working group's scenario files as typed steps.

A file holds named scenarios; a scenario is a list of steps that refer to each other's outputs by position.
The official runner reads the files with Go's JSON decoder, which ignores case in keys and drops keys it does
not know. That hides mistakes: in the published files, `externalTree` and `forcePath` of the branch scenarios
are spelt otherwise than that runner expects, so it leaves them out. Here a key matches a field when the two
agree without case and underscores, and a key that matches none is an error: a scenario does all that it says.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


class ScenarioError(Exception):
    """A scenario file says something this bench does not understand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    extension_type: int
    extension_data: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalDescription:
    """A proposal to be made by whoever the step tells to."""

    proposal_type: str
    key_package: int = 0
    removed: str = ""
    psk_id: int = 0
    epoch_id: int = 0
    extensions: tuple[Extension, ...] = ()
    change_group_id: bool = False
    change_cipher_suite: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step. Actors are named by role; an int names the step whose output is meant."""

    actor: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateGroup(Step):
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateKeyPackage(Step):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinGroup(Step):
    welcome: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalJoin(Step):
    """`joiner` joins by external commit on the actor's GroupInfo; the actor and `members` process it."""

    joiner: str
    members: tuple[str, ...] = ()
    external_tree: bool = False
    remove_prior: bool = False
    psks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallExternalPsk(Step):
    clients: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupInfo(Step):
    external_tree: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AddProposal(Step):
    key_package: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateProposal(Step):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveProposal(Step):
    removed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalPskProposal(Step):
    psk_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumptionPskProposal(Step):
    epoch_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupContextExtensionsProposal(Step):
    extensions: tuple[Extension, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit(Step):
    """The actor commits; nobody processes it yet."""

    by_reference: tuple[int, ...] = ()
    by_value: tuple[ProposalDescription, ...] = ()
    force_path: bool = False
    external_tree: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FullCommit(Commit):
    """The actor commits, the actor and `members` process it, and `joiners` join."""

    members: tuple[str, ...] = ()
    joiners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HandleCommit(Step):
    commit: int
    by_reference: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlePendingCommit(Step):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Protect(Step):
    authenticated_data: str = ""
    plaintext: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unprotect(Step):
    ciphertext: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReInit(Step):
    """From the ReInit proposal to the successor group. Without a proposer, an external signer proposed it."""

    proposer: str = ""
    committer: str
    welcomer: str
    members: tuple[str, ...] = ()
    change_cipher_suite: bool = False
    change_group_id: bool = False
    extensions: tuple[Extension, ...] = ()
    force_path: bool = False
    external_tree: bool = False
    external_reinit_proposal: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch(Step):
    members: tuple[str, ...] = ()
    force_path: bool = False
    external_tree: bool = False
    extensions: tuple[Extension, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMemberAddProposal(Step):
    joiner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddExternalSigner(Step):
    signer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalSignerProposal(Step):
    """The actor, an external signer, proposes on a GroupInfo from `member`."""

    member: str
    description: ProposalDescription


_ACTIONS: dict[str, type[Step]] = {
    "createGroup": CreateGroup,
    "createKeyPackage": CreateKeyPackage,
    "joinGroup": JoinGroup,
    "externalJoin": ExternalJoin,
    "installExternalPSK": InstallExternalPsk,
    "groupInfo": GroupInfo,
    "addProposal": AddProposal,
    "updateProposal": UpdateProposal,
    "removeProposal": RemoveProposal,
    "externalPSKProposal": ExternalPskProposal,
    "resumptionPSKProposal": ResumptionPskProposal,
    "groupContextExtensionsProposal": GroupContextExtensionsProposal,
    "commit": Commit,
    "fullCommit": FullCommit,
    "handleCommit": HandleCommit,
    "handlePendingCommit": HandlePendingCommit,
    "protect": Protect,
    "unprotect": Unprotect,
    "reinit": ReInit,
    "branch": Branch,
    "newMemberAddProposal": NewMemberAddProposal,
    "addExternalSigner": AddExternalSigner,
    "externalSignerProposal": ExternalSignerProposal,
}

# Fields that name actors, in the order in which a scenario introduces them. `removed` is left out: it is an
# identity in somebody's tree, and introduces nobody.
_NAMES_ONE = ("actor", "proposer", "committer", "welcomer", "joiner", "signer", "member")
_NAMES_MANY = ("members", "joiners", "clients")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    file: str
    name: str
    steps: tuple[Step, ...]

    @property
    def actors(self) -> tuple[str, ...]:
        """Every role, in order of first appearance. The official runner's order is random."""
        return tuple(dict.fromkeys(actor for step in self.steps for actor in _named(step)))


def action_of(step: Step) -> str:
    """The step's name in the file."""
    return next(action for action, kind in _ACTIONS.items() if kind is type(step))


def _named(step: Step) -> Iterator[str]:
    for one in _NAMES_ONE:
        if name := getattr(step, one, ""):
            yield name
    for many in _NAMES_MANY:
        yield from getattr(step, many, ())


def _plain(key: str) -> str:
    return key.replace("_", "").lower()


def _value(kind: Any, raw: object, where: str) -> object:
    """The field's value from its JSON, by the field's declared type."""
    if kind in {str, int, bool}:
        # bool is an int to Python, not to a scenario.
        if type(raw) is not kind:
            raise ScenarioError(f"{where}: {raw!r} is not {kind.__name__}")
        return raw
    if kind is bytes:
        if not isinstance(raw, str):
            raise ScenarioError(f"{where}: {raw!r} is not base64 text")
        return base64.b64decode(raw, validate=True)
    if isinstance(kind, type):
        if not isinstance(raw, dict):
            raise ScenarioError(f"{where}: {raw!r} is not an object")
        return _record(kind, raw, where)
    # All that is left is tuple[x, ...].
    if not isinstance(raw, list):
        raise ScenarioError(f"{where}: {raw!r} is not a list")
    return tuple(_value(kind.__args__[0], item, f"{where}[{number}]") for number, item in enumerate(raw))


def _record(kind: type[Any], raw: dict[str, object], where: str) -> Any:
    hints = get_type_hints(kind)
    known = {_plain(field.name): field.name for field in fields(kind)}
    given: dict[str, object] = {}
    for key, value in raw.items():
        name = known.get(_plain(key))
        if name is None or name in given:
            raise ScenarioError(f"{where}: {key!r} is {'unknown' if name is None else 'given twice'}")
        given[name] = _value(hints[name], value, f"{where}.{key}")
    try:
        return kind(**given)
    except TypeError as error:
        raise ScenarioError(f"{where}: {error}") from None


def _step(raw: object, where: str) -> Step:
    if not isinstance(raw, dict):
        raise ScenarioError(f"{where}: a step is an object")
    kind = _ACTIONS.get(raw.get("action", ""))
    if kind is None:
        raise ScenarioError(f"{where}: unknown action {raw.get('action')!r}")
    step: Step = _record(kind, {key: value for key, value in raw.items() if key != "action"}, where)
    return step


def read_scenarios(path: Path) -> tuple[Scenario, ...]:
    """All scenarios of one file, in the file's order."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(raw, dict) or not isinstance(raw.get("scripts"), dict):
        raise ScenarioError(f"{path.name}: no scripts in it")
    return tuple(
        Scenario(
            file=path.stem,
            name=name,
            steps=tuple(_step(step, f"{path.stem}.{name}[{number}]") for number, step in enumerate(steps)),
        )
        for name, steps in raw["scripts"].items()
    )


def config_folder() -> Path | None:
    """Where the scenario files are: with the vectors, wherever those are; None if nowhere."""
    named = os.environ.get("VCD_MLS_VECTORS")
    # A folder that was named and is wrong must not be papered over by another one.
    homes = [Path(named)] if named else [ROOT / "tests" / "vectors" / "mlswg", ROOT.parent / "shared" / "mls-vectors"]
    return next((home / "interop-configs" for home in homes if (home / "interop-configs").is_dir()), None)


def config_files() -> tuple[Path, ...]:
    """Every scenario file, by name; empty if the folder is absent."""
    folder = config_folder()
    return tuple(sorted(folder.glob("*.json"))) if folder else ()
