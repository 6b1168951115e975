"""Talking in a village, for tests of what becomes of messages."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from tests.vcd.core.company import act, step
from tests.vcd.core.village import Frame, Village
from vcd.core import acting, events, inputs, keys, topics
from vcd.core.names import ContentId, EpochId, FrameId, GroupId
from vcd.core.payloads import Content, Payload, Post, Said, pack, pack_said, unpack
from vcd.core.state import Talk
from vcd.core.strand import Strand
from vcd.core.topics import TopicSecret
from vcd.core.turn import Turn

TEA = GroupId(b"tea")


def nonce(text: str) -> bytes:
    return sha256(text.encode()).digest()[:16]


def say(village: Village, name: str, text: str, group: GroupId = TEA) -> ContentId:
    """Say something, and its id."""
    told = village.do(name, inputs.Say(conversation=group, nonce=nonce(text), data=text.encode()))
    return next(event.content for event in told if isinstance(event, events.Message) and event.data == text.encode())


def refresh(village: Village, name: str, group: GroupId = TEA) -> EpochId:
    """A commit that changes nothing but the keys."""
    return act(village, name, lambda turn: acting.commit(turn, turn.strand(group), force_path=True)[0].step.epoch)


def heard(village: Village, name: str) -> list[str]:
    """What a device's app has, in order."""
    return [data.decode() for data in village.said(name)]


def fates(village: Village, name: str, content: ContentId) -> list[events.Fate]:
    return [event.fate for event in village.told(name, events.MessageFate) if event.content == content]


def strand(village: Village, name: str, group: GroupId = TEA) -> Strand:
    return village.state(name).strands[group]


def talk(village: Village, name: str, group: GroupId = TEA) -> Talk:
    return village.state(name).talks[group]


def on(village: Village, name: str, content: Said, group: GroupId = TEA) -> None:
    """Let a device say something just as it is, whatever its node would think of that."""

    def seal(turn: Turn) -> None:
        sealed = keys.seal(turn, turn.strand(group), pack_said(content))
        turn.publish(turn.strand(group).kept[sealed.epoch].topic, Post(epoch=sealed.epoch, message=sealed.message))

    act(village, name, seal)


def content(village: Village, name: str, text: str, group: GroupId = TEA, **other: object) -> Content:
    """What a node would say, or something else."""
    given: dict[str, object] = {
        "nonce": nonce(text),
        "said_at": village.now,
        "epoch": strand(village, name, group).head,
        "data": text.encode(),
    }
    return Content(**{**given, **other})  # type: ignore[arg-type]


def publish(village: Village, name: str, payload: Payload, group: GroupId = TEA) -> None:
    """Let a device send a payload to the topic of its head."""

    def send(turn: Turn) -> None:
        here = turn.strand(group).here
        assert here is not None
        turn.publish(here.topic, payload)

    act(village, name, send)


def give(village: Village, name: str, payload: Payload, secret: TopicSecret, mark: str) -> None:
    """A frame for one device alone, of whoever knows the topic's secret."""
    suite = village.devices[name].provider.suite(1)
    topic = topics.keys_of(suite, secret)
    sealed = topics.seal(suite, topic, pack(payload))
    frame = FrameId(sha256(mark.encode()).digest())
    village.step(name, inputs.Arrived(frame=frame, topic=topic.name, payload=sealed))


def payloads(village: Village, name: str, frames: list[Frame]) -> list[Payload]:
    """What frames hold, as far as a device can open them."""
    found = []
    for frame in frames:
        joined = village.state(name).joined.find(frame.topic)
        if joined is not None:
            suite = village.devices[name].provider.suite(1)
            found.append(unpack(topics.open_sealed(suite, joined.keys, frame.payload)))
    return found


def since(village: Village, what: Callable[[], object]) -> list[Frame]:
    """The frames that something puts into the logs."""
    before = len(village.log)
    what()
    return village.log[before:]


def tampered(village: Village, name: str, change: Callable[[Turn], None]) -> None:
    """Change a device's state as no input would."""
    step(village, name, change)


def skip(village: Village, milliseconds: int) -> None:
    """Time goes by at once: whatever became due in it is done at its end."""
    village.now += milliseconds
    for _ in range(2):
        for name in sorted(village.devices):
            if village.devices[name].up:
                village.do(name, inputs.Tick())
