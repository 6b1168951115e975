"""mls-extensions §6.4: KeyPackages that say they may be used more than once."""

from __future__ import annotations

from mls.components.dictionary import Dictionary, dictionary_extension, dictionary_of
from mls.components.last_resort import is_last_resort, mark
from mls.components.numbers import ComponentId, Numbers
from mls.leaf_node import Extension
from tests.mls.refusals import refused
from tests.validation import breaks

OTHER = Extension(0xF00D, b"other")
MOVED = Numbers(last_resort_key_package=ComponentId(0x8004))


def test_the_mark() -> None:
    assert mark(())[0].encode().hex() == "0006" + "04" + "03" + "0004" + "00"
    assert is_last_resort(mark(()))
    assert not is_last_resort(())
    assert not is_last_resort((OTHER, dictionary_extension({5: b"five"})))


def test_the_mark_leaves_the_rest_alone() -> None:
    marked = mark((dictionary_extension({5: b"five"}), OTHER))
    assert marked[1] == OTHER
    assert dictionary_of(marked) == Dictionary.of({4: b"", 5: b"five"})
    assert mark(marked) == marked


def test_the_number_is_the_deployments() -> None:
    assert is_last_resort(mark((), MOVED), MOVED)
    assert not is_last_resort(mark((), MOVED))
    assert not is_last_resort(mark(()), MOVED)


@breaks("EXT-6.4-1")
def test_a_mark_with_data() -> None:
    refused("EXT-6.4-1", lambda: is_last_resort((dictionary_extension({4: b"\x00"}),)))
    assert is_last_resort((dictionary_extension({4: b""}),))
