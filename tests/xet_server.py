"""
The storage of the stand-in Hub for files that come by Xet. A client cuts each file into chunks, and sends many chunks
as one block, a "xorb"; then a "shard", which says of which runs of chunks ("terms") each file is made.

Clients have to be told to leave the chunks as they are (HF_XET_XORB_COMPRESSION_POLICY=none). That a xorb or a file is
what its hash says is not proved, for lack of BLAKE3; a file's SHA-256 is, where the shard has it.
"""

import hashlib
import struct
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any


RECORD = 48  # bytes; of these shards are made
END = b"\xff" * 32  # the hash that ends a section
HAS_VERIFICATION, HAS_SHA256 = 1 << 31, 1 << 30
CHUNK_HEADER = 8  # bytes: u8 version, u24 bytes that follow, u8 compression, u24 bytes of the chunk


class MalformedError(Exception):
    """The client sent what is no xorb, or no shard of xorbs that are here."""


@dataclass(frozen=True)
class Term:
    """The chunks `start` to `stop`, exclusive, of a xorb: `length` bytes of a file."""

    xorb: str
    start: int
    stop: int
    length: int


@dataclass
class Xorb:
    """`ends`: where in its bytes each chunk ends, with its header."""

    content: bytes
    ends: list[int]

    def bytes_of(self, term: Term) -> tuple[int, int]:
        """First and last byte of some chunks, inclusive."""
        return (self.ends[term.start - 1] if term.start else 0), self.ends[term.stop - 1] - 1

    def chunks(self, term: Term) -> bytes:
        """Some chunks, without their headers."""
        starts = [0, *self.ends]
        return b"".join(self.content[starts[i] + CHUNK_HEADER : starts[i + 1]] for i in range(term.start, term.stop))


@dataclass
class XetStorage:
    """
    Attributes:
        granted: what was put where a grant said, by hash, and not yet committed.
        xorbs: by hash, as all hashes in the hexadecimal form that they have in addresses.
        files: by hash, the terms they are made of.
        hashes: of the files, by their SHA-256.
    """

    granted: dict[str, bytes] = field(default_factory=dict)
    xorbs: dict[str, Xorb] = field(default_factory=dict)
    files: dict[str, list[Term]] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)

    def add_xorb(self, name: str, content: bytes) -> bool:
        """False if it was there."""
        ends, position = [], 0
        while position < len(content) and content[position : position + 7] != b"XETBLOB":
            version, stored, scheme, length = _chunk_header(content[position : position + CHUNK_HEADER])
            position += CHUNK_HEADER + stored
            if (version, scheme, stored) != (0, 0, length) or position > len(content):
                raise MalformedError(f"xorb {name}: not an uncompressed chunk before byte {position}")
            ends.append(position)
        is_new = name not in self.xorbs
        self.xorbs[name] = Xorb(content, ends)
        return is_new

    def add_file(self, content: bytes) -> None:
        """One that no client has sent. Its hashes are made up, which those who read it do not notice."""
        sha256 = hashlib.sha256(content).hexdigest()
        chunks = [content[start : start + 2**16] for start in range(0, len(content), 2**16)]
        stored = []
        for chunk in chunks:
            size = len(chunk).to_bytes(3, "little")
            stored.append(b"\0%b\0%b%b" % (size, size, chunk))
        self.add_xorb(sha256, b"".join(stored))
        self.files[sha256] = [Term(sha256, 0, len(chunks), len(content))]
        self.hashes[sha256] = sha256

    def add_shard(self, content: bytes) -> dict[str, bytes]:
        """The files that a shard describes, by SHA-256."""
        if not content.startswith(b"HFRepoMetaData"):
            raise MalformedError("not a shard")
        found, position = {}, RECORD
        while (record := content[position : position + RECORD])[:32] != END:
            name, flags, count = struct.unpack("<32sII8x", record)
            records = [content[position + RECORD * i :][:RECORD] for i in range(1, count + 1)]
            terms = [_term(record) for record in records]
            position += RECORD * (1 + count * (2 if flags & HAS_VERIFICATION else 1))
            if not flags & HAS_SHA256:
                raise MalformedError("a file without its SHA-256 cannot be committed")
            sha256 = _hex(content[position : position + 32])
            position += RECORD
            whole = self._file(terms)
            if hashlib.sha256(whole).hexdigest() != sha256:
                raise MalformedError("a file is not what its SHA-256 says")
            self.files[_hex(name)], self.hashes[sha256] = terms, _hex(name)
            found[sha256] = whole
        return found

    def _file(self, terms: list[Term]) -> bytes:
        missing = {term.xorb for term in terms} - self.xorbs.keys()
        if missing:
            raise MalformedError(f"xorbs that are not here: {', '.join(sorted(missing))}")
        return b"".join(self.xorbs[term.xorb].chunks(term) for term in terms)

    def reconstruction(self, name: str, start: int, stop: int | None, url: str) -> dict[str, Any] | None:
        """
        How to get the bytes `start` to `stop`, exclusive, of a file; None if it has no such bytes.

        Args:
            url: where the bytes of a xorb are, when its hash is put behind.
        """
        terms = self.files[name]
        ends = list(accumulate(term.length for term in terms))
        if start >= ends[-1]:
            return None
        begins = [0, *ends]
        wanted = [i for i in range(len(terms)) if ends[i] > start and (stop is None or begins[i] < stop)]
        xorbs: dict[str, list[dict[str, Any]]] = {}
        for term in dict.fromkeys(terms[i] for i in wanted):
            first, last = self.xorbs[term.xorb].bytes_of(term)
            chunks = {"start": term.start, "end": term.stop}
            place = {"url": url + term.xorb, "ranges": [{"chunks": chunks, "bytes": {"start": first, "end": last}}]}
            xorbs.setdefault(term.xorb, []).append(place)
        return {
            "offset_into_first_range": start - begins[wanted[0]],
            "terms": [
                {
                    "hash": terms[i].xorb,
                    "unpacked_length": terms[i].length,
                    "range": {"start": terms[i].start, "end": terms[i].stop},
                }
                for i in wanted
            ],
            "xorbs": xorbs,
        }


def _hex(name: bytes) -> str:
    """Of a hash, and of a SHA-256 in a shard: four numbers of 64 bits, not 32 bytes."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", name))


def _chunk_header(header: bytes) -> tuple[int, int, int, int]:
    if len(header) < CHUNK_HEADER:
        raise MalformedError("a xorb ends within the header of a chunk")
    return header[0], int.from_bytes(header[1:4], "little"), header[4], int.from_bytes(header[5:8], "little")


def _term(record: bytes) -> Term:
    name, _, length, start, stop = struct.unpack("<32sIIII", record)
    return Term(_hex(name), start, stop, length)
