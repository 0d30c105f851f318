"""What a container's own mounts let through to the host, and what they do not, whatever others write meanwhile."""
# ruff: noqa: ASYNC221 - quick commands

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localset.kubelet.runtime import Isolation, Mount, ProcessState
from tests.process.test_keeper import A, B, over, running, spec, text, until

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="makes mounts as root"),
]


def loopback(directory: Path, run_id: str, script: str, *mounts: Mount, **more):
    return spec(directory, run_id, "sh", "-c", script, isolation=Isolation.LOOPBACK, mounts=mounts, **more)


async def test_a_link_swapped_into_a_subpath_is_not_followed(tmp_path):
    volume, secret = tmp_path / "volume", tmp_path / "secret"
    (volume / "sub").mkdir(parents=True)
    secret.mkdir()
    (secret / "key").write_text("secret")
    mount = Mount(str(volume), "/data-x", beneath="sub/deep")
    (volume / "sub" / "deep").mkdir()
    async with running(tmp_path) as runtime:
        await runtime.spawn(loopback(tmp_path, "good", "echo hi > /data-x/f", mount))
        assert (await over(runtime, "good")).exit_code == 0
        assert (volume / "sub" / "deep" / "f").read_text() == "hi\n"
        # The kubelet has looked; before the keeper mounts, another container that has the whole volume swaps it.
        for number, (gone, link) in enumerate(((volume / "sub" / "deep", secret), (volume / "sub", tmp_path))):
            gone.rename(volume / f"moved-{number}")
            gone.symlink_to(link)
            report = await runtime.spawn(loopback(tmp_path, f"bad-{number}", "cat /data-x/key", mount))
            assert (report.state, report.errno_name) == (ProcessState.FAILED, "ELOOP")
        assert "link" in report.error


async def test_a_mount_point_is_not_made_through_a_link_inside_another_volume(tmp_path):
    outer, inner, outside = (tmp_path / name for name in ("outer", "inner", "outside"))
    for directory in (outer, inner, outside):
        directory.mkdir()
    (outer / "link").symlink_to(outside)
    mounts = (Mount(str(outer), "/data-x"), Mount(str(inner), "/data-x/link/new"))
    async with running(tmp_path) as runtime:
        report = await runtime.spawn(loopback(tmp_path, A, "true", *mounts))
        assert (report.state, report.errno_name) == (ProcessState.FAILED, "ELOOP")
        assert list(outside.iterdir()) == []
        mounts = (Mount(str(outer), "/data-x"), Mount(str(inner), "/data-x/made/new", read_only=True))
        await runtime.spawn(loopback(tmp_path, B, "ls /data-x/made/new; touch /data-x/made/new/f || echo ro", *mounts))
        await over(runtime, B)
        assert text(tmp_path, B) == ["ro"]
        assert (outer / "made" / "new").is_dir()


@pytest.mark.parametrize("shares_host", [True, False])
async def test_what_image_host_writes_beside_a_missing_mount_point_reaches_the_host(tmp_path, shares_host):
    host, volume = tmp_path / "host", tmp_path / "volume"
    (host / "there").mkdir(parents=True)
    volume.mkdir()
    mounts = (
        Mount(str(volume), str(host / "missing" / "deep")),
        Mount(str(volume), str(host / "there" / "also" / "x")),
    )
    script = f"cd {host}; echo a > missing/deep/f; echo b > there/new; echo c > there/also/g; echo d > ../beside; ls"
    async with running(tmp_path / "keeper") as runtime:
        (tmp_path / "keeper").mkdir(exist_ok=True)
        await runtime.spawn(loopback(tmp_path, A, script, *mounts, shares_host=shares_host))
        assert (await over(runtime, A)).exit_code == 0
    assert text(tmp_path, A) == ["missing", "there"]
    assert (volume / "f").read_text() == "a\n"
    assert (tmp_path / "beside").exists() == shares_host
    assert sorted(p.name for p in host.rglob("*")) == ["there"], "what lacks a mount point is private, and only that"


def test_without_overlay_the_directory_is_taken_apart_and_a_big_one_refused(tmp_path):
    (tmp_path / "host" / "kept").mkdir(parents=True)
    (tmp_path / "many").mkdir()
    for number in range(201):
        (tmp_path / "many" / str(number)).touch()
    (tmp_path / "volume").mkdir()
    script = """
import os, sys
from localset.keeper import linux, mounts

class NoOverlay(mounts.Tree):
    def _overlay(self, top, missing, layers):
        return False

root = sys.argv[1]
linux.unshare(linux.CLONE_NEWNS)
tree = NoOverlay(root + "/private", is_privileged=True)
tree.build([{"source": root + "/volume", "target": root + sys.argv[2]}], "/", (0, 0))
open(root + "/host/kept/f", "w").close()
open(root + sys.argv[2] + "/v", "w").close()
"""
    command = [sys.executable, "-c", script, tmp_path]
    done = subprocess.run([*command, "/host/a/b"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "host" / "kept" / "f").exists()
    assert (tmp_path / "volume" / "v").exists()
    assert not (tmp_path / "host" / A).exists()
    done = subprocess.run([*command, "/many/a"], capture_output=True, text=True, check=False)
    assert "more than 200 entries" in done.stderr


def _words_of(log: Path) -> list[str]:
    """Return the words of a log; a full pipe may have cut a line into a part (P) and its end (F)."""
    parts = [line.split(" ", 3) for line in log.read_text().splitlines()]
    return "".join(part[3] + "\n" * (part[2] == "F") for part in parts if len(part) > 3).split()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk: needs root")
async def test_a_full_disk_holds_the_program_and_no_line_is_lost(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "localset-test", small], check=True)
    try:
        async with running(tmp_path) as runtime:
            filler = small / "filler"
            filler.write_bytes(b"x" * 200_000)
            wanted = spec(tmp_path, A, "seq", "1", "30000")
            wanted = type(wanted)(**{**{n: getattr(wanted, n) for n in wanted.__slots__}, "log_path": f"{small}/a.log"})
            report = await runtime.spawn(wanted)
            log = small / "a.log"
            waits_in = Path(f"/proc/{report.pid}/wchan")
            await until(lambda: "pipe" in waits_in.read_text(), "the program waits for its output to be taken")
            subprocess.run(["mount", "-o", "remount,size=4m", small], check=True)
            await over(runtime, A)
            everything = [str(number) for number in range(1, 30001)]
            await until(lambda: _words_of(log) == everything, "the log holds every line")
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_log_is_rotated_and_the_oldest_file_goes(tmp_path):
    from localset.keeper.logs import LogFile

    log = LogFile(str(tmp_path / "a.log"), rotate_bytes=100)
    for number in range(70):
        log.append(f"{number:09d}\n".encode())
    log.close()
    names = ["a.log", "a.log.1", "a.log.2", "a.log.3", "a.log.4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    kept = b"".join((tmp_path / name).read_bytes() for name in reversed(names)).split()
    assert [int(line) for line in kept] == list(range(30, 70))
