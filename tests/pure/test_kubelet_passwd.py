"""The Pod's own /etc/passwd: the image's users and the container's own, beside the host's."""

from localset.kubelet.passwd import passwd_for

HOST = "root:x:0:0:root:/root:/bin/bash\ncloud:x:1000:1000::/home/cloud:/bin/sh\n"
HOST += "redis:x:105:108::/var/lib/redis:/bin/false\n"


def test_the_hosts_file_will_do_when_it_knows_everyone() -> None:
    assert passwd_for(HOST, {}, 1000, 1000, "/w") is None
    assert passwd_for(HOST, {"redis": 105}, 0, 0, "/w") is None


def test_an_unknown_uid_gets_a_name() -> None:
    text = passwd_for(HOST, {}, 4711, 5, "/w")
    assert text == HOST + "user4711:x:4711:5::/w:/bin/sh\n"


def test_the_images_users_win_over_the_hosts_of_that_name_or_uid() -> None:
    text = passwd_for(HOST, {"redis": 999, "zookeeper": 1000}, 0, 0, "/a:b")
    assert text is not None
    assert [line.split(":")[0:4] for line in text.splitlines()] == [
        ["root", "x", "0", "0"],
        ["redis", "x", "999", "999"],
        ["zookeeper", "x", "1000", "1000"],
    ]
    assert "/a_b" in text
