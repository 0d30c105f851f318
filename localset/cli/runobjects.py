"""What `run` sends: the Pod of its flags, changed by `--overrides`, and the Service of `--expose`.

Pure; the words of refusals are kubectl's.
"""

from typing import Any

from localset.cli.output import CommandError, fail

_Object = dict[str, Any]


def pod_of(name: str, words: tuple[str, ...], options: dict[str, Any]) -> _Object:
    """Return the Pod that the flags of `run` describe; CommandError for an `--env` or a label that is no pair."""
    container: dict[str, Any] = {"name": name, "image": options["image"], "resources": {}}
    if words:
        container["command" if options["is_command"] else "args"] = list(words)
    if options["variables"]:
        container["env"] = [_variable(text) for text in options["variables"]]
    if options["port"] is not None:
        container["ports"] = [{"containerPort": options["port"]}]
    if options["image_pull_policy"]:
        container["imagePullPolicy"] = options["image_pull_policy"]
    if options["has_stdin"]:
        container |= {"stdin": True} | ({} if options["leave_stdin_open"] else {"stdinOnce": True})
    if options["has_tty"]:
        container["tty"] = True
    metadata: dict[str, Any] = {"name": name, "labels": _pairs(options["labels"].split(",")) or {"run": name}}
    if options["namespace"] != "default":
        metadata["namespace"] = options["namespace"]
    if options["annotations"]:
        metadata["annotations"] = _pairs(options["annotations"])
    spec = {"containers": [container], "dnsPolicy": "ClusterFirst", "restartPolicy": options["restart"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _variable(text: str) -> dict[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        fail(f"invalid env: {text}", hint="as NAME=VALUE")
    return {"name": name, "value": value} if value else {"name": name}


def _pairs(texts: Any) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if text and not equals:
            fail(f"unexpected label: {text}", hint="as KEY=VALUE")
        if text:
            pairs[key] = value
    return pairs


def service_of(pod: _Object, port: int) -> _Object:
    """Return the Service of `run --expose`: it has the Pod's name and selects its labels."""
    metadata = {key: value for key, value in pod["metadata"].items() if key in {"name", "namespace"}}
    ports = [{"port": port, "protocol": "TCP", "targetPort": port}]
    spec = {"ports": ports, "selector": pod["metadata"].get("labels") or {}}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def overridden(pod: _Object, text: str, way: str) -> _Object:
    """Return `pod` changed by the JSON or YAML of `--overrides`; CommandError for what is no patch of that kind."""
    if not text:
        return pod
    if way not in {"merge", "strategic", "json"}:
        raise CommandError(f"invalid override type: {way}", hint="merge, strategic, json")
    from localset.machinery.decoding import DecodeError
    from localset.machinery.errors import StatusError
    from localset.machinery.patch import apply_json_patch, apply_merge_patch
    from localset.machinery.yaml_decoding import decode_yaml

    try:
        change = decode_yaml(text.encode())[0].value
        if not isinstance(change, list if way == "json" else dict):
            raise CommandError("Invalid JSON Patch", hint="a JSON " + ("list" if way == "json" else "object"))
        if way == "json":
            return dict(apply_json_patch(pod, change))
        if way == "merge":
            return dict(apply_merge_patch(pod, change))
        from localset.apis.schema.types import patch_rules
        from localset.machinery.strategic_patch import apply_strategic_patch

        return dict(apply_strategic_patch(pod, change, patch_rules("", "v1", "Pod")))
    except (DecodeError, StatusError, IndexError) as error:
        raise CommandError(str(error) or "Invalid JSON Patch") from None
