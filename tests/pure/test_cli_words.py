"""How words are read: the forms of flags that pflag takes, the halves of an exec, a program's output for a terminal."""

import click
import pytest

from localset.cli.exec import _split
from localset.cli.group import as_click_reads
from localset.cli.logs import logs
from localset.cli.logsources import safe
from localset.cli.run import run
from localset.machinery.durations import parse_duration


@pytest.mark.parametrize(
    ("command", "words", "read"),
    [
        (logs, "-f=true web-0 --all-containers=true", "-f web-0 --all-containers"),
        (logs, "web-0 --follow=false -n=shop --tail=3", "web-0 -n shop --tail=3"),
        (run, "x --rm=true --env=a=true -- --rm=true", "x --rm --env=a=true -- --rm=true"),
        (run, "x --restart=Never -l=a=b", "x --restart=Never -l a=b"),
    ],
)
def test_click_reads_what_pflag_takes(command: click.Command, words: str, read: str) -> None:
    assert as_click_reads(command, words.split()) == read.split()


@pytest.mark.parametrize(
    ("words", "command", "options"),
    [
        ("sh -c x", "sh -c x", {}),
        ("-- sh -c x", "sh -c x", {}),
        ("-c main -it -- sh", "sh", {"container": "main", "has_stdin": True, "has_tty": True}),
        ("--container=main -n shop -- sh -- x", "sh -- x", {"container": "main", "namespace": "shop"}),
        ("env -- x", "env -- x", {}),
    ],
)
def test_the_command_of_an_exec_begins_behind_the_dash(words: str, command: str, options: dict[str, object]) -> None:
    assert _split(tuple(words.split())) == (command.split(), options)


def test_a_programs_colours_stay_and_its_lines_end() -> None:
    assert safe("\x1b[1;31mred\x1b[0m\r\nplain\x1b[2J") == "\x1b[1;31mred\x1b[0m\nplain\\x1b[2J"


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("500ms", 0.5), ("0", 0), ("0s", 0)])
def test_durations_are_gos(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "1x", "-"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)
