"""The registry's versioned door: lists, pages, scale, patches."""

import asyncio

import orjson
import pytest

from localset.client.client import DeleteOptions, PatchType
from localset.machinery.errors import StatusError
from localset.registry.registry import WriteOptions

SETS = "statefulsets.apps"


def config_map(name="a", **more):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **more}


def stateful_set(replicas=2):
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "serviceName": "web",
            "selector": {"matchLabels": {"app": "x"}},
            "template": {
                "metadata": {"labels": {"app": "x"}},
                "spec": {"containers": [{"name": "c", "image": "host", "command": ["true"]}]},
            },
        },
    }


async def joined(registry):
    """Return the list's bytes, which are as many as it says."""
    listed = await registry.read_list_bytes("configmaps", "default")
    body = b"".join(listed.pieces)
    assert len(body) == listed.length
    return body


async def test_the_joined_list_is_the_list(registry):
    for name in "cab":
        await registry.write_create("configmaps", "default", config_map(name), "v1", WriteOptions())
    listed = await registry.read_list("configmaps", "default", "v1")
    assert orjson.loads(await joined(registry)) == listed
    assert [i["metadata"]["name"] for i in listed["items"]] == ["a", "b", "c"]
    assert all("kind" not in i and "apiVersion" not in i for i in listed["items"])
    assert listed["kind"] == "ConfigMapList"


async def test_an_empty_joined_list_is_a_list(registry):
    assert orjson.loads(await joined(registry))["items"] == []


async def test_pages_keep_the_first_version_and_lose_nothing(registry):
    for name in "abcde":
        await registry.write_create("configmaps", "default", config_map(name), "v1", WriteOptions())
    first = await registry.read_list("configmaps", "default", "v1", limit=2)
    assert first["metadata"]["remainingItemCount"] == 3
    await registry.delete("configmaps", "default", "b")
    names, page = [i["metadata"]["name"] for i in first["items"]], first
    while token := page["metadata"].get("continue"):
        page = await registry.read_list("configmaps", "default", "v1", limit=2, continue_token=token)
        assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        names += [i["metadata"]["name"] for i in page["items"]]
    assert names == list("abcde")
    with pytest.raises(StatusError):
        await registry.read_list("configmaps", "default", "v1", limit=2, continue_token="nonsense")


async def test_scale_reads_writes_and_patches_replicas(registry):
    await registry.create(SETS, stateful_set())
    scale = await registry.read_scale(SETS, "default", "web", "v1")
    assert (scale["kind"], scale["spec"]["replicas"], scale["status"]["selector"]) == ("Scale", 2, "app=x")
    written = await registry.write_scale(SETS, "default", "web", {"spec": {"replicas": 5}}, "v1", WriteOptions())
    assert written.object["spec"]["replicas"] == 5
    patched = await registry.patch(
        SETS, "default", "web", {"spec": {"replicas": 3}}, PatchType.MERGE, subresource="scale"
    )
    assert patched["spec"]["replicas"] == 3
    stored = await registry.get(SETS, "default", "web")
    assert (stored["spec"]["replicas"], stored["metadata"]["generation"]) == (3, 3)
    with pytest.raises(StatusError) as caught:
        await registry.write_scale(SETS, "default", "web", scale, "v1", WriteOptions())
    assert caught.value.reason == "Conflict"
    with pytest.raises(StatusError, match=r'Scale\.autoscaling "web" is invalid'):
        await registry.write_scale(SETS, "default", "web", {"spec": {"replicas": -1}}, "v1", WriteOptions())


async def test_old_versions_orphan_by_default(registry):
    await registry.create(SETS, stateful_set())
    answer = await registry.remove(SETS, "default", "web", DeleteOptions(), "v1beta1")
    assert answer["metadata"]["finalizers"] == ["orphan"]
    assert answer["metadata"]["generation"] == 2


async def test_a_stale_or_foreign_put_is_refused(registry):
    made = (await registry.write_create("configmaps", "default", config_map(), "v1", WriteOptions())).object
    await registry.write_update("configmaps", "default", "a", {**made, "data": {"k": "v"}}, "v1", WriteOptions())
    for wrong, code in [
        (made, 409),
        ({**made, "metadata": {**made["metadata"], "resourceVersion": "", "uid": "other"}}, 409),
        ({**made, "metadata": {**made["metadata"], "name": "b"}}, 400),
        ({**made, "metadata": {**made["metadata"], "namespace": "elsewhere"}}, 400),
    ]:
        with pytest.raises(StatusError) as caught:
            await registry.write_update("configmaps", "default", "a", wrong, "v1", WriteOptions())
        assert caught.value.code == code
    with pytest.raises(StatusError) as caught:
        await registry.write_update("configmaps", "default", "nope", config_map("nope"), "v1", WriteOptions())
    assert caught.value.code == 404


async def test_concurrent_patches_without_version_all_apply(registry):
    await registry.write_create("configmaps", "default", config_map(), "v1", WriteOptions())
    patches = [
        registry.write_patch(
            "configmaps", "default", "a", {"data": {f"k{i}": "v"}}, PatchType.MERGE, "v1", WriteOptions()
        )
        for i in range(20)
    ]
    await asyncio.gather(*patches)
    assert len((await registry.read("configmaps", "default", "a", "v1"))["data"]) == 20


async def test_an_unknown_resource_is_not_found(registry):
    with pytest.raises(StatusError, match="could not find the requested resource"):
        await registry.list("widgets.example.com")


async def test_a_patch_of_metadata_leaves_the_content_as_it_is_and_is_refused_in_the_same_words(registry):
    made = (await registry.write_create(SETS, "default", stateful_set(), "v1", WriteOptions())).object

    async def patch(body, version="v1"):
        written = await registry.write_patch(
            SETS, "default", "web", body, PatchType.MERGE, version, WriteOptions(field_manager="m")
        )
        return written.object

    labelled = await patch({"metadata": {"labels": {"a": "b"}}})
    assert orjson.dumps([labelled["spec"], labelled["status"]]) == orjson.dumps([made["spec"], made["status"]])
    assert (labelled["metadata"]["generation"], labelled["metadata"]["labels"]) == (1, {"a": "b"})
    owners = {owner["manager"]: list(owner["fieldsV1"]) for owner in labelled["metadata"]["managedFields"]}
    assert owners["m"] == ["f:metadata"]
    assert await patch({"metadata": {"labels": {"a": "b"}}}) == labelled
    old = await patch({"metadata": {"labels": {"a": "c"}}}, "v1beta1")
    assert (old["apiVersion"], old["metadata"]["labels"]) == ("apps/v1beta1", {"a": "c"})
    for head in ({"labels": 1}, {"name": "other"}, {"labels": {"!": "x"}}, {"uid": "x"}, {"ownerReferences": [{}]}):
        with pytest.raises(StatusError) as alone:
            await patch({"metadata": head})
        with pytest.raises(StatusError) as beside:
            await patch({"metadata": head, "spec": {"replicas": 2}})
        assert alone.value.to_status() == beside.value.to_status()
