"""The known answers of DiMLS: the code gives them, and a member made of plain MLS finds them again."""

from __future__ import annotations

import json

import pytest

from tests.vectors.own import distributed


@pytest.mark.slow
def test_the_code_gives_the_answers_that_are_pinned() -> None:
    assert distributed.generate() == json.loads(distributed.PATH.read_text())


def test_a_member_made_of_plain_mls_follows_the_runs() -> None:
    for case in json.loads(distributed.PATH.read_text()):
        assert distributed.replay(case) == 10
