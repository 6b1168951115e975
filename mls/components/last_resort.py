"""mls-extensions §6.4: KeyPackages that may be used more than once.

A KeyPackage is for one use, and who has none left cannot be added. So a client may publish one that is taken when all
others are gone. It says so itself, by a component without data, where who hands it out and who is shown it in an Add
can both read it. What reuse costs is told in RFC 9420 §16.8: the init key is deleted later, so replace it soon after.
"""

from __future__ import annotations

from mls.components.dictionary import dictionary_of, with_dictionary
from mls.components.numbers import Numbers
from mls.errors import PeerError
from mls.leaf_node import Extensions

_STANDARD = Numbers()


def mark(extensions: Extensions, numbers: Numbers = _STANDARD) -> Extensions:
    """The extensions of a KeyPackage (not of its leaf) with the mark among their application data."""
    marked = dictionary_of(extensions).with_entry(numbers.last_resort_key_package, b"")
    return with_dictionary(extensions, marked)


def is_last_resort(extensions: Extensions, numbers: Numbers = _STANDARD) -> bool:
    """Whether the KeyPackage with these extensions says that it may be used more than once."""
    data = dictionary_of(extensions).find(numbers.last_resort_key_package)
    if data:
        raise PeerError("EXT-6.4-1")
    return data is not None
