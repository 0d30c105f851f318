"""The Pod's own /etc/passwd, where a container has mounts of its own. Pure; `starter` writes what this returns.

Programs look up who they run as (initdb refuses to run without an answer), and the uid of an image or of runAsUser
seldom has a name on this machine, or has somebody else's. Container engines add a line for the same reason.
"""

from collections.abc import Mapping


def passwd_for(host_text: str, users: Mapping[str, int], uid: int, gid: int, home: str) -> str | None:
    """Return the file that knows the image's `users` and the container's `uid`, or None where the host's says it all.

    The image's names win over the host's users of the same name or uid.
    """
    wanted = dict(users)
    lines = [line for line in host_text.splitlines() if line.count(":") == 6]
    known = {line.split(":")[2]: line.partition(":")[0] for line in lines}
    if uid not in wanted.values() and str(uid) not in known:
        wanted[f"user{uid}"] = uid
    wanted = {name: number for name, number in wanted.items() if known.get(str(number)) != name}
    if not wanted:
        return None
    taken = {str(number) for number in wanted.values()}
    kept = [line for line in lines if line.partition(":")[0] not in wanted and line.split(":")[2] not in taken]
    home = home.replace(":", "_")
    added = [f"{name}:x:{n}:{gid if n == uid else n}::{home}:/bin/sh" for name, n in wanted.items()]
    return "".join(f"{line}\n" for line in [*kept, *added])
