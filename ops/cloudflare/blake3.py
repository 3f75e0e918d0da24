"""BLAKE3 of a single chunk, which is all that a small file needs.

github.com/BLAKE3-team/BLAKE3-specs, section 2. Python's standard library has no BLAKE3.
"""

import struct
from collections.abc import Sequence

MAX_BYTES = 1024
"""Bytes of a chunk."""
_BLOCK = 64
_IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
_ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
_COLUMNS_AND_DIAGONALS = (
    *((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)),
    *((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)),
)
_CHUNK_START, _CHUNK_END, _ROOT = 1, 2, 8
_ROUNDS = 7


def hash_chunk(data: bytes) -> bytes:
    """Return the 32 bytes of the hash.

    Raises:
        ValueError: the data is longer than a chunk.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"{len(data)} bytes are more than a chunk of {MAX_BYTES}")
    blocks = [data[at : at + _BLOCK] for at in range(0, len(data), _BLOCK)] or [b""]
    value: Sequence[int] = _IV
    for number, block in enumerate(blocks):
        flags = _CHUNK_START * (number == 0) | (_CHUNK_END | _ROOT) * (number == len(blocks) - 1)
        value = _compress_block(value, block, flags)
    return struct.pack("<8I", *value)


def _compress_block(value: Sequence[int], block: bytes, flags: int) -> list[int]:
    words = struct.unpack("<16I", block.ljust(_BLOCK, b"\0"))
    state = [*value, *_IV[:4], 0, 0, len(block), flags]
    for _ in range(_ROUNDS):
        for number, places in enumerate(_COLUMNS_AND_DIAGONALS):
            _mix_words(state, places, words[2 * number], words[2 * number + 1])
        words = tuple(words[place] for place in _ORDER)
    return [one ^ other for one, other in zip(state[:8], state[8:], strict=True)]


def _mix_words(state: list[int], places: tuple[int, int, int, int], *words: int) -> None:
    a, b, c, d = places
    for word, (first, second) in zip(words, ((16, 12), (8, 7)), strict=True):
        state[a] = (state[a] + state[b] + word) & 0xFFFFFFFF
        state[d] = _rotate_right(state[d] ^ state[a], first)
        state[c] = (state[c] + state[d]) & 0xFFFFFFFF
        state[b] = _rotate_right(state[b] ^ state[c], second)


def _rotate_right(word: int, bits: int) -> int:
    return (word >> bits | word << 32 - bits) & 0xFFFFFFFF
