"""The table of served resources: look-ups, the order of versions, and rows that come and go."""

import pytest

from localset.apis.resources import RESOURCES, Resource
from localset.apis.served import ServedResources, version_priority

WIDGETS = Resource("widgets", "widget", "Widget", "fx.example.com", ("v1beta1", "v2", "v1"), storage="v1")


def test_every_built_in_row_is_found_by_name_kind_and_path():
    served = ServedResources()
    for row in RESOURCES:
        assert served.get(row.name) is row
        for version in row.versions:
            assert served.find_by_kind(row.api_version(version), row.kind) is row
            assert served.by_path[row.group, version, row.plural] is row


def test_a_custom_row_comes_and_goes_and_the_listeners_hear_of_each_change_once():
    served, told = ServedResources(), []
    served.add_listener(lambda: told.append(served.revision))
    served.set_custom([WIDGETS])
    served.set_custom([WIDGETS])
    assert served.get("widgets.fx.example.com") is WIDGETS
    assert served.find_by_kind("fx.example.com/v2", "Widget") is WIDGETS
    assert served.find_by_kind("fx.example.com/v3", "Widget") is None
    assert served.versions["fx.example.com"] == ["v2", "v1", "v1beta1"]
    assert WIDGETS.api_version() == "fx.example.com/v1"
    served.set_custom([])
    assert served.get("widgets.fx.example.com") is None
    assert "fx.example.com" not in served.versions
    assert told == [1, 2]


def test_a_built_in_row_wins_over_a_custom_one_of_the_same_place():
    served = ServedResources()
    served.set_custom([Resource("statefulsets", "statefulset", "StatefulSet", "apps", ("v1", "v7"))])
    assert served.by_path["apps", "v1", "statefulsets"] in RESOURCES
    assert served.versions["apps"] == ["v1", "v1beta2", "v1beta1", "v7"]


@pytest.mark.parametrize(
    "versions", [["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"]]
)
def test_versions_are_preferred_as_kubernetes_documents_it(versions):
    assert sorted(sorted(versions), key=version_priority) == versions
