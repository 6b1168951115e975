"""mls-extensions §6.2: a group in which every application message says of which kind it is."""

from __future__ import annotations

import pytest

from mls import group as front
from mls.components.dictionary import dictionary_of
from mls.components.media import GROUPS_FIRST, MediaType, MediaTypeList, Parameter, frame, media_types_of, unframe
from mls.errors import PeerError
from mls.group import ApplicationMessage
from mls.proposals import Add
from tests.mls.clients import Party
from tests.mls.components.company import MEDIA, OFFER, PICTURE, TEXT, company, data_of, demand, offer, someone, updated
from tests.mls.frankenstein import PathSurgery, forge_commit
from tests.mls.refusals import A, B, refused, refuses
from tests.validation import breaks

HTML = MediaType(b"text/html", (Parameter(b"charset", b"utf-8"),))


def group_list(ours: Party) -> MediaTypeList:
    data = data_of(ours, MEDIA)
    assert data is not None
    return media_types_of(data)


def said(ours: Party, media_type: MediaType, content: bytes) -> tuple[MediaType, bytes]:
    """From A to B."""
    ours.groups[A], message = front.seal(ours[A], ours.env, frame(media_type, content))
    event = front.receive(ours[B], ours.env, message)
    assert isinstance(event, ApplicationMessage)
    ours.groups[B] = event.group
    return unframe(event.data, group_list(ours))


def test_messages_with_their_kinds() -> None:
    """A named one, the group's first, and one that the group does not demand: its reader may know it all the same."""
    ours = company(2, extensions=demand(media_types=[PICTURE, TEXT]))
    assert said(ours, TEXT, b"hello") == (TEXT, b"hello")
    assert said(ours, GROUPS_FIRST, b"\x89PNG") == (PICTURE, b"\x89PNG")
    assert said(ours, HTML, b"<p>") == (HTML, b"<p>")


def test_the_first_of_the_list_changes_with_the_epoch() -> None:
    ours = company(2, extensions=demand(media_types=[PICTURE]))
    assert said(ours, GROUPS_FIRST, b"x") == (PICTURE, b"x")
    ours.commit(B, proposals=[updated(MEDIA, MediaTypeList((TEXT, PICTURE)).encode())])
    assert said(ours, GROUPS_FIRST, b"x") == (TEXT, b"x")


def test_a_member_s_kinds_can_be_read_from_its_leaf() -> None:
    """So that members can see when all of them know a better one, and demand it."""
    ours = company(2, leaf=offer(media_types=[TEXT, HTML]))
    for _, leaf in ours.any.members:
        data = dictionary_of(leaf.extensions).find(MEDIA)
        assert data is not None
        assert media_types_of(data).media_type_list == (TEXT, HTML)
    ours.commit(A, proposals=[updated(MEDIA, MediaTypeList((HTML,)).encode())])
    plain = someone("plain")
    package = plain.package(ours.env, leaf_extensions=offer(media_types=[MediaType(b"text/html")]))
    refused("EXT-5-3", lambda: front.commit(ours[A], ours.env, proposals=[Add(package.key_package)]))


@breaks("EXT-6.2-1", "EXT-6.2-2", "EXT-6.2-3")
@pytest.mark.parametrize(
    ("rule", "data"),
    [("EXT-6.2-1", b"\x00"), ("EXT-6.2-2", b"\x06\x04text\x00"), ("EXT-6.2-3", b"\x02\x00\x00")],
)
def test_lists_that_are_none(rule: str, data: bytes) -> None:
    """No commit brings one; one that waits is left out."""
    ours = company(2)
    good = MediaTypeList((TEXT,)).encode()
    refused(rule, lambda: front.commit(ours[A], ours.env, proposals=[updated(MEDIA, data)]))
    path = PathSurgery(leaf={"extensions": OFFER})
    commits = [
        forge_commit(ours[B], ours.env, ours.clients[B], [updated(MEDIA, each)], path=path).message
        for each in (data, good)
    ]
    refuses(rule, ours, A, *commits)
    ours.propose(B, updated(MEDIA, data))
    ours.commit(A)
    assert data_of(ours, MEDIA) is None


def test_what_is_not_framed_is_told_to_the_reader() -> None:
    """The protocol hands over the bytes; it is `unframe` that refuses them."""
    ours = company(2, extensions=demand(media_types=[TEXT]))
    ours.groups[A], message = front.seal(ours[A], ours.env, b"just text")
    event = front.receive(ours[B], ours.env, message)
    assert isinstance(event, ApplicationMessage)
    with pytest.raises(PeerError):
        unframe(event.data, group_list(ours))
