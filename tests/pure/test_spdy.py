"""The codec of SPDY/3.1: what real clients sent, what we send, and what nobody should."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localset.apiserver import spdy
from tests.pure.fixtures_of_kubernetes import records

_KINDS = {"SYN_STREAM": spdy.SynStream, "SYN_REPLY": spdy.SynReply, "RST_STREAM": spdy.Reset, "GOAWAY": spdy.GoAway}


@pytest.mark.parametrize("record", records("streams.jsonl", "streams/"))
def test_recorded_control_frames_are_understood(record: dict) -> None:
    for side in ("fromClient", "fromServer"):
        decoder = spdy.Decoder()
        for frame in record[side] or ():
            if "hex" not in frame or "frame" not in frame:
                continue
            (read,) = decoder.feed(bytes.fromhex(frame["hex"]))
            assert isinstance(read, _KINDS[frame["frame"]])
            assert getattr(read, "headers", None) == frame.get("headers")
            assert getattr(read, "stream", None) == frame.get("stream")
            assert getattr(read, "status", None) == frame.get("status", getattr(read, "status", None))


def test_the_dictionary_is_the_published_one() -> None:
    assert zlib.adler32(spdy.DICTIONARY) == 0xE3C6A7C2


@given(
    st.lists(
        st.dictionaries(st.text("abcxyz-", min_size=1), st.text(max_size=40), max_size=5) | st.binary(max_size=200),
        max_size=8,
    ),
    st.integers(1, 50),
)
def test_what_is_encoded_is_decoded_however_it_is_cut(contents: list[dict | bytes], size: int) -> None:
    encoder, decoder = spdy.Encoder(), spdy.Decoder()
    sent = b""
    for number, content in enumerate(contents):
        if isinstance(content, dict):
            sent += encoder.syn_stream(number, content)
        else:
            sent += spdy.data_frame(number, content, fin=True)
    got: dict[int, dict | bytes] = {}
    finished = set()
    for start in range(0, len(sent), size):
        for frame in decoder.feed(sent[start : start + size]):
            if isinstance(frame, spdy.Data):
                got[frame.stream] = got.get(frame.stream, b"") + frame.data
                finished |= {frame.stream} if frame.fin else set()
            else:
                got[frame.stream] = frame.headers
    assert got == dict(enumerate(contents))
    assert finished == {number for number, content in enumerate(contents) if isinstance(content, bytes)}


@given(st.lists(st.binary(max_size=300), max_size=10))
def test_hostile_bytes_never_do_more_than_break_the_connection(pieces: list[bytes]) -> None:
    decoder = spdy.Decoder()
    try:
        for piece in pieces:
            decoder.feed(piece)
    except spdy.SpdyError:
        return


@given(st.integers(0, 12), st.integers(0, 255), st.binary(max_size=200))
def test_hostile_control_frames_never_do_more_than_break_the_connection(kind: int, flags: int, body: bytes) -> None:
    decoder = spdy.Decoder()
    head = (0x8003 << 16 | kind).to_bytes(4, "big") + (flags << 24 | len(body)).to_bytes(4, "big")
    try:
        decoder.feed(head + body)
    except spdy.SpdyError:
        return


def _syn(block: bytes) -> bytes:
    payload = bytes(3) + b"\1" + bytes(6) + block
    return b"\x80\x03\0\1\0" + len(payload).to_bytes(3, "big") + payload


def test_a_header_block_that_inflates_without_end_is_refused() -> None:
    deflate = zlib.compressobj(zdict=spdy.DICTIONARY)
    block = deflate.compress(bytes(8 << 20)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    assert len(block) < spdy.MAX_CONTROL_BYTES
    with pytest.raises(spdy.SpdyError, match="too long"):
        spdy.Decoder().feed(_syn(block))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x80\x02\0\1\0\0\0\0", "version"),
        (b"\x80\x03\0\1\0\xff\xff\xff", "too long"),
        (b"\x80\x03\0\1\0\0\0\4abcd", "too short"),
        (_syn(b"not zlib"), "inflated"),
        (_syn(zlib.compress(b"\0\0\0\1")), "too long"),
    ],
)
def test_what_is_no_spdy_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(spdy.SpdyError, match=why):
        spdy.Decoder().feed(data)


def test_long_data_is_passed_on_as_it_comes() -> None:
    decoder = spdy.Decoder()
    head = b"\0\0\0\1\1\xff\xff\xff"
    assert decoder.feed(head + b"abc") == [spdy.Data(1, b"abc", fin=False)]
    assert decoder.feed(b"de") == [spdy.Data(1, b"de", fin=False)]
    *_, last = decoder.feed(bytes(0xFFFFFF - 5))
    assert last.fin
