"""A backup file opens whole and in order, by its passphrase, or not at all."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings, strategies as st

from vcd.backup import seal
from vcd.backup.seal import HEADER, PIECE, BackupError, Reader, Writer, WrongPassphrase, begin, read_header
from vcd.vault.sealing import SealKey
from vcd.vault.unlockers import Passphrase

CHEAP = Passphrase("horse", memory_kib=64, passes=1, lanes=1)
KEY = SealKey(bytes(range(32)))


def sealed(*records: bytes) -> bytes:
    writer = Writer(KEY)
    return b"".join([*map(writer.add, records), writer.end()])


def opened(data: bytes, key: SealKey = KEY, step: int = 1 << 20) -> list[bytes]:
    def parts() -> Iterator[bytes]:
        reader = Reader(key)
        for at in range(0, len(data), step):
            yield from reader.feed(data[at : at + step])
        yield from reader.end()

    return list(parts())


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.sampled_from([1, 2, 60_000, PIECE - 4, PIECE, PIECE + 1, 200_000]), min_size=1, max_size=5),
    st.integers(min_value=1, max_value=300_000),
)
def test_what_was_written_is_read_in_parts_of_any_size(sizes: list[int], step: int) -> None:
    records = [bytes([at]) * size for at, size in enumerate(sizes)]
    assert opened(sealed(*records), step=max(step, 500)) == records


@pytest.mark.parametrize("size", [PIECE - 4, PIECE - 3, 2 * PIECE - 4])
def test_a_last_piece_that_is_full_is_the_last_one_all_the_same(size: int) -> None:
    assert opened(sealed(bytes(size))) == [bytes(size)]


def test_nothing_is_read_of_a_file_that_is_cut_off_or_longer() -> None:
    whole = sealed(b"a" * 150_000, b"b")
    for wrong in (whole[:-1], whole[: PIECE + 16], whole[: 2 * (PIECE + 16)], whole + b"x", b"", whole + whole):
        with pytest.raises(BackupError):
            opened(wrong)


def test_pieces_that_are_changed_repeated_or_in_another_order_are_refused() -> None:
    whole, size = sealed(b"a" * 200_000), PIECE + 16
    first, second, rest = whole[:size], whole[size : 2 * size], whole[2 * size :]
    for wrong in (second + first + rest, first + first + second + rest, second + rest, first + rest):
        with pytest.raises(BackupError):
            opened(wrong)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_bit_that_is_turned_is_noticed(data: st.DataObject) -> None:
    whole = bytearray(sealed(b"a" * 70_000, b"b"))
    at = data.draw(st.integers(min_value=0, max_value=len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(min_value=0, max_value=7))
    with pytest.raises(BackupError):
        opened(bytes(whole))


def test_sizes_within_are_bounded() -> None:
    with pytest.raises(ValueError, match="too long"):
        Writer(KEY).add(bytes(seal.MAX_RECORD + 1))
    with pytest.raises(ValueError, match="empty"):
        Writer(KEY).add(b"")
    writer = Writer(KEY)
    writer._buffer += (seal.MAX_RECORD + 1).to_bytes(4) + b"x"
    with pytest.raises(BackupError, match="size"):
        opened(writer.end())
    writer = Writer(KEY)
    writer._buffer += (9).to_bytes(4) + b"x"
    with pytest.raises(BackupError, match="within"):
        opened(writer.end())


def test_a_passphrase_opens_it_and_no_other() -> None:
    header, key = begin(CHEAP)
    found = read_header(header + b"rest")
    assert found.open("horse").raw == key.raw
    for wrong in ("donkey", ""):
        with pytest.raises(WrongPassphrase):
            found.open(wrong)
    assert begin(CHEAP)[1].raw != key.raw
    with pytest.raises(WrongPassphrase):
        begin(Passphrase(""))


def test_a_header_is_read_strictly() -> None:
    header, _ = begin(CHEAP)
    with pytest.raises(BackupError, match="no backup"):
        read_header(header[:-1])
    with pytest.raises(BackupError, match="no backup"):
        read_header(b"x" + header[1:])
    with pytest.raises(BackupError, match="newer"):
        read_header(header[:7] + b"2" + header[8:])
    with pytest.raises(BackupError, match="damaged"):
        read_header(header[:30] + b"\1" + header[31:])
    for at in range(8, HEADER):
        wrong = bytearray(header)
        wrong[at] ^= 1
        with pytest.raises(BackupError):  # what it asks for is out of bounds, or another key comes of it
            read_header(bytes(wrong)).open("horse")


@pytest.mark.parametrize(
    "numbers", [b"\xff\xff\xff\xff\x01\x01", b"\0\0\0\x40\xff\x01", b"\0\0\0\x40\x01\xff", bytes(6)]
)
def test_a_header_cannot_ask_for_the_machine(numbers: bytes) -> None:
    header, _ = begin(CHEAP)
    with pytest.raises(BackupError, match="work"):
        read_header(header[:24] + numbers + header[30:])


@given(st.binary(max_size=200))
def test_whatever_bytes_are_no_backup(data: bytes) -> None:
    with pytest.raises(BackupError):
        read_header(data)


def test_nothing_shows_a_key() -> None:
    shown = repr(Writer(KEY)) + repr(Reader(KEY)) + repr(KEY)
    assert KEY.raw.hex() not in shown
    assert repr(KEY.raw) not in shown


def test_the_format_is_pinned() -> None:
    header = read_header(
        bytes.fromhex("7663646261636b31" + "07" * 16 + "00000040" + "0101" + "0000") + _CHECK_OF_SEVENS
    )
    key = header.open("horse")
    assert opened(_SEALED_HELLO, key) == [b"hello"]


_CHECK_OF_SEVENS = bytes.fromhex("98ceadb7a65b251d0ad1c8724b10591a6528aac21e78dedee0bc08a35733ff6e")
_SEALED_HELLO = bytes.fromhex("03828514b8f6765487df5c71f9d2b747e3aeb772454cdb9448")
