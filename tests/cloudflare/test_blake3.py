"""BLAKE3, by the vectors of its reference implementation (github.com/BLAKE3-team/BLAKE3, test_vectors)."""

import pytest

from ops.cloudflare.blake3 import hash_chunk
from ops.cloudflare.verification import hash_site_file


def counted(size: int) -> bytes:
    return bytes(number % 251 for number in range(size))


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (b"", "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
        (b"abc", "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"),
        (counted(1024), "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"),
    ],
    ids=["nothing", "a part of a block", "a whole chunk"],
)
def test_hash_is_that_of_the_reference(data: bytes, digest: str) -> None:
    assert hash_chunk(data).hex() == digest


def test_longer_data_is_refused() -> None:
    with pytest.raises(ValueError, match="1025"):
        hash_chunk(counted(1025))


def test_key_of_a_file_depends_on_content_and_type() -> None:
    keys = [
        hash_site_file("/a.html", b"one"),
        hash_site_file("/b.html", b"one"),
        hash_site_file("/a.txt", b"one"),
        hash_site_file("/a.html", b"two"),
    ]

    assert keys[0] == keys[1]
    assert len({*keys}) == 3
    assert {len(key) for key in keys} == {32}
