"""Text of objects and events cannot act on the terminal of whoever looks at them (reliability.md E1)."""

import json
import os

from tests.e2e.house import House, surroundings
from tests.e2e.terminal import at_terminal

ESC, BEL, ST = "\x1b", "\x07", "\x1b\\"
_OSC = (0, 1, 2, 4, 7, 8, 9, 10, 50, 52, 104, 133, 777, 1337)
_CSI = ("2J", "H", "35m", "6n", "c", ">c", "?1049h", "?25l", "20;1H", "3J", "21t", "5i", "1A", "K")
SEQUENCES = [
    *(f"{ESC}]{number};text{end}" for number in _OSC for end in (BEL, ST)),
    *(f"{ESC}[{text}" for text in _CSI),
    *(f"{ESC}{letter}text{ST}" for letter in ("P$q", "P+q", "X", "^", "_")),
    *(f"{ESC}{letter}" for letter in ("c", "7", "#8", "(0", "Z", "=")),
    *("\x9b31m", "\x9d52;c;cHduZWQ=\x9c", "\x90q\x9c", "real\rfake", "\u202eevil\u202c", "\u2066x\u2069"),
    *(f"a{letter}b" for letter in "\b\x0b\x0c\x7f\x05\x0e"),
]
FORBIDDEN = {chr(n) for n in (*range(0x20), *range(0x7F, 0xA0)) if n not in {9, 10, 13, 27}} | {
    "\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069",
}  # fmt: skip
OURS = ("\x1b[0m", "\x1b[31m", "\x1b[32m", "\x1b[33m")


def test_no_control_sequence_of_an_object_or_event_reaches_a_terminal(house: House) -> None:
    assert len(SEQUENCES) >= 60
    text = "".join(f"{number}{sequence}" for number, sequence in enumerate(SEQUENCES))
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "odd", "annotations": {"note": text}},
        "spec": {
            "containers": [
                {
                    "name": "c",
                    "image": "host",
                    "command": ["sleep", "inf"],
                    "env": [{"name": "TEXT", "value": text}],
                    "readinessProbe": {"exec": {"command": ["false"]}},
                }
            ]
        },
    }
    house.run("apply", "-f", "-", stdin=json.dumps(pod))
    found = house.json("pod", "odd")
    about = {"kind": "Pod", "name": "odd", "namespace": "default", "uid": found["metadata"]["uid"]}
    now = "2999-01-01T00:00:00Z"
    event = {
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "odd.1", "namespace": "default"},
        "involvedObject": about, "type": "Warning", "reason": "Unhealthy", "message": f"Readiness probe failed: {text}",
        "lastTimestamp": now, "firstTimestamp": now, "source": {"component": text[:50]},
    }  # fmt: skip
    house.run("create", "-f", "-", stdin=json.dumps(event))
    _, path = surroundings(None)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": path,
        "LOCALSET_DATA_DIR": str(house.data),
        "TERM": "xterm",
    }
    for words in (
        ["get", "pod", "odd", "-o", "yaml"], ["get", "pod", "odd", "-o", "json"], ["get", "events"], ["events"],
        ["describe", "pod", "odd"], ["status"], ["get", "pod", "odd", "-o", "jsonpath={.metadata.annotations.note}"],
        ["get", "pod", "odd", "-o", "custom-columns=A:.metadata.annotations.note"], ["get", text],
    ):  # fmt: skip
        _, shown = at_terminal([surroundings(None)[0], "-m", "localset", *words], environment, [])
        shown = shown.replace("\r\n", "\n")
        for colour in OURS:
            shown = shown.replace(colour, "")
        left = sorted({hex(ord(c)) for c in shown if c in FORBIDDEN or c in {"\x1b", "\r"}})
        assert left == [], (words, left)
    assert "Traceback" not in shown
    _, shown = at_terminal([surroundings(None)[0], "-m", "localset", "status"], {**environment, "NO_COLOR": "1"}, [])
    assert "\x1b" not in shown
