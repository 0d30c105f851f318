"""The small images that manifests everywhere use, over the host's own programs."""

import urllib.error
import urllib.request

from tests.e2e.example import needs_image
from tests.e2e.house import House, host_address, until

PODS = {
    "web": 'image: "httpd:2.4", ports: [{containerPort: 18080}]',
    "wait": 'image: "registry.k8s.io/pause:3.10"',
    "alpine": 'image: "alpine:3", args: [sh, -c, "echo I am $HOSTNAME; exec sleep inf"]',
    "debian": 'image: "mirror.gcr.io/library/debian:12", command: [bash, -c, "echo I am $HOSTNAME; exec sleep inf"]',
    "bash": 'image: "bash:5", args: [-c, "echo I am $HOSTNAME; exec sleep inf"]',
    "python": 'image: "python:3.13", stdin: true, args: [python, -uc, "print(\\"I am python\\"); input()"]',
    "curl": 'image: "curlimages/curl:8.11.1", args: [--version]',
}


def test_small_images_run_the_hosts_programs_and_an_event_says_so(house: House) -> None:
    for image in ("httpd", "curlimages/curl", "python:3", "debian"):
        needs_image(image)
    house.up()
    text = "---\n".join(
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: c, {container}}}]}}\n"
        for name, container in PODS.items()
    )
    house.run("create", "-f", "-", stdin=text)

    def runs() -> bool:
        pods = [house.pod(name) for name in PODS]
        return all(
            pod["status"].get("containerStatuses", [{}])[0].get("started") or pod["metadata"]["name"] == "curl"
            for pod in pods
            if pod
        )

    until(runs, 60, "all Pods run")
    for name in ("alpine", "debian", "bash", "python"):
        until(lambda name=name: house.run("logs", name).stdout.strip() == f"I am {name}", 20, f"{name}'s log")
    until(lambda: "curl " in house.run("logs", "curl", check=False).stdout, 20, "curl's version")
    events = [e for e in house.json("events")["items"] if e["reason"] == "HostPrograms"]
    assert {e["involvedObject"]["name"] for e in events} == {"alpine", "debian", "bash", "python", "curl"}
    assert all("runs over the host's own programs" in e["message"] for e in events)

    web = house.pod("web")
    assert web is not None

    def page() -> str:
        try:
            with urllib.request.urlopen(f"http://{host_address(web)}:18080/", timeout=5) as answer:
                return answer.read().decode()
        except urllib.error.URLError:
            return ""

    until(lambda: "It works" in page(), 20, "Apache's own page")
    house.run("delete", "pod", "wait", timeout=20)
    assert house.pod("wait") is None
