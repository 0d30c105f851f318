"""SPDY/3.1 as bytes: frames and header blocks in both directions (draft 3.1; kube-api.md 8.2). Pure, no I/O.

`apiserver.spdy_connection` feeds a `Decoder` and sends what an `Encoder` makes. Header blocks are one zlib stream per
direction for the whole connection, so every block is decoded in order, wanted or not. Memory is bounded whatever
arrives: control frames and inflated header blocks have a limit, data is passed on in the pieces in which it came.
Nothing but `SpdyError` comes out of a decoder.
"""

import struct
import zlib
from dataclasses import dataclass, field

from localset.base.frozen import frozen

PROTOCOL = "SPDY/3.1"
MAX_CONTROL_BYTES = 16 * 1024
MAX_HEADER_BYTES = 64 * 1024
MAX_DATA_BYTES = 32 * 1024
PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, CANCEL, INTERNAL_ERROR = 1, 2, 3, 5, 6
FIN, UNIDIRECTIONAL = 0x01, 0x02

_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _HEADERS, _WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
_VERSION = 0x8003
_STREAM_MASK = 0x7FFFFFFF
_HEAD = struct.Struct("!II")

# The words of the dictionary of SPDY/3, each led by its length in the dictionary itself, then a tail without lengths.
_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug "
    "Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,"
    "application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch"
    "charset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _dictionary() -> bytes:
    words = [word.replace("_", " ").encode() for word in _WORDS.split()]
    return b"".join(len(word).to_bytes(4, "big") + word for word in words) + _TAIL.encode()


DICTIONARY = _dictionary()


class SpdyError(Exception):
    """The peer broke the protocol; the connection is of no use any more."""


@frozen
class SynStream:
    """The peer opens a stream."""

    stream: int
    headers: dict[str, str]
    fin: bool = False


@frozen
class SynReply:
    """The peer accepts our stream."""

    stream: int
    headers: dict[str, str]
    fin: bool = False


@frozen
class Headers:
    """More headers of an open stream."""

    stream: int
    headers: dict[str, str]
    fin: bool = False


@frozen
class Reset:
    """A stream ends at once, both ways."""

    stream: int
    status: int


@frozen
class Ping:
    """To be sent back as it is."""

    number: int


@frozen
class GoAway:
    """The peer opens no more streams."""

    last: int
    status: int = 0


@frozen
class Data:
    """Bytes of a stream; one frame may come in several pieces, `fin` with the last."""

    stream: int
    data: bytes
    fin: bool = False


Frame = SynStream | SynReply | Headers | Reset | Ping | GoAway | Data


def encode_headers(headers: dict[str, str]) -> bytes:
    """Return a header block before compression: names in lower case."""
    parts = [len(headers).to_bytes(4, "big")]
    for name, value in headers.items():
        for text in (name.lower().encode(), value.encode()):
            parts += [len(text).to_bytes(4, "big"), text]
    return b"".join(parts)


def decode_headers(block: bytes) -> dict[str, str]:
    """Return the headers of an inflated block; the last of equal names wins. SpdyError when it is malformed."""
    headers: dict[str, str] = {}
    count, at = _number(block, 0), 4
    for _ in range(count):
        name, at = _text(block, at)
        value, at = _text(block, at)
        headers[name.lower()] = value
    return headers


def _number(block: bytes, at: int) -> int:
    if at + 4 > len(block):
        raise SpdyError("a header block ends too soon")
    return int.from_bytes(block[at : at + 4], "big")


def _text(block: bytes, at: int) -> tuple[str, int]:
    end = at + 4 + _number(block, at)
    if end > len(block):
        raise SpdyError("a header block ends too soon")
    return block[at + 4 : end].decode("utf-8", "replace"), end


@dataclass
class Decoder:
    """One direction of a connection, from bytes to frames."""

    _buffer: bytearray = field(default_factory=bytearray)
    _stream: int = 0
    _left: int = 0
    _fin: bool = False
    _inflate: "zlib._Decompress" = field(default_factory=lambda: zlib.decompressobj(zdict=DICTIONARY))

    def feed(self, data: bytes) -> list[Frame]:
        """Return what `data` completes; SpdyError when it is not SPDY/3 or exceeds a limit."""
        self._buffer += data
        frames: list[Frame] = []
        while self._left or len(self._buffer) >= _HEAD.size:
            if self._left:
                if not self._buffer:
                    break
                frames.append(self._piece())
                continue
            first, second = _HEAD.unpack_from(self._buffer)
            length, flags = second & 0xFFFFFF, second >> 24
            if not first >> 31:
                del self._buffer[: _HEAD.size]
                self._stream, self._left, self._fin = first, length, bool(flags & FIN)
                if not length:
                    frames.append(Data(first, b"", self._fin))
                continue
            if first >> 16 != _VERSION:
                raise SpdyError(f"version {first >> 16 & 0x7FFF} of SPDY is not spoken here")
            if length > MAX_CONTROL_BYTES:
                raise SpdyError("a control frame is too long")
            if len(self._buffer) < _HEAD.size + length:
                break
            payload = bytes(self._buffer[_HEAD.size : _HEAD.size + length])
            del self._buffer[: _HEAD.size + length]
            frame = self._control(first & 0xFFFF, flags, payload)
            if frame is not None:
                frames.append(frame)
        return frames

    def _piece(self) -> Data:
        piece = bytes(self._buffer[: self._left])
        del self._buffer[: len(piece)]
        self._left -= len(piece)
        return Data(self._stream, piece, self._fin and not self._left)

    def _control(self, kind: int, flags: int, payload: bytes) -> Frame | None:
        """Return the frame; None for what has no meaning here (SETTINGS, WINDOW_UPDATE, unknown ones)."""
        fin = bool(flags & FIN)
        if kind == _SYN_STREAM:
            stream, _, _ = struct.unpack("!IIH", self._fixed(payload, 10))
            return SynStream(stream & _STREAM_MASK, self._headers(payload[10:]), fin)
        if kind in {_SYN_REPLY, _HEADERS}:
            (stream,) = struct.unpack("!I", self._fixed(payload, 4))
            made = SynReply if kind == _SYN_REPLY else Headers
            return made(stream & _STREAM_MASK, self._headers(payload[4:]), fin)
        if kind in {_RST_STREAM, _GOAWAY}:
            first, second = _HEAD.unpack(self._fixed(payload, 8))
            return Reset(first & _STREAM_MASK, second) if kind == _RST_STREAM else GoAway(first & _STREAM_MASK, second)
        if kind == _PING:
            return Ping(struct.unpack("!I", self._fixed(payload, 4))[0])
        return None

    @staticmethod
    def _fixed(payload: bytes, length: int) -> bytes:
        if len(payload) < length:
            raise SpdyError("a control frame is too short")
        return payload[:length]

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._inflate.decompress(block, MAX_HEADER_BYTES)
        except zlib.error as error:
            raise SpdyError(f"a header block cannot be inflated: {error}") from error
        if self._inflate.unconsumed_tail or self._inflate.eof:
            raise SpdyError("a header block is too long")
        return decode_headers(plain)


class Encoder:
    """One direction of a connection, from frames to bytes. The bytes must be sent in the order of the calls."""

    def __init__(self) -> None:
        """Start the direction's zlib stream."""
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def _block(self, headers: dict[str, str]) -> bytes:
        return self._deflate.compress(encode_headers(headers)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def syn_stream(self, stream: int, headers: dict[str, str], *, fin: bool = False) -> bytes:
        """Open a stream."""
        return _control(_SYN_STREAM, struct.pack("!IIH", stream, 0, 0) + self._block(headers), fin=fin)

    def syn_reply(self, stream: int, headers: dict[str, str]) -> bytes:
        """Accept the peer's stream."""
        return _control(_SYN_REPLY, struct.pack("!I", stream) + self._block(headers))


def _control(kind: int, payload: bytes, *, fin: bool = False) -> bytes:
    return _HEAD.pack(_VERSION << 16 | kind, (FIN if fin else 0) << 24 | len(payload)) + payload


def data_frame(stream: int, data: bytes | memoryview, *, fin: bool = False) -> bytes:
    """Return one data frame; `data` is at most MAX_DATA_BYTES long."""
    return _HEAD.pack(stream, (FIN if fin else 0) << 24 | len(data)) + data


def reset_frame(stream: int, status: int) -> bytes:
    """Return the frame that ends a stream at once."""
    return _control(_RST_STREAM, _HEAD.pack(stream, status))


def ping_frame(number: int) -> bytes:
    """Return a ping, or the answer to one."""
    return _control(_PING, struct.pack("!I", number))


def goaway_frame(last: int, status: int = 0) -> bytes:
    """Return the frame that says that no stream after `last` is taken."""
    return _control(_GOAWAY, _HEAD.pack(last, status))
