"""Every example's manifest is one that a cluster takes as it stands, by Kubernetes' own published schema."""

from pathlib import Path

import pytest
import yaml

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MANIFESTS = sorted(path for path in EXAMPLES.glob("*/*.yaml") if "v1beta1" not in path.name)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_a_cluster_takes_the_manifest(path: Path) -> None:
    import kubernetes_validate

    documents = list(yaml.safe_load_all(path.read_text()))
    assert [document["kind"] for document in documents].count("StatefulSet") == 1
    for document in documents:
        kubernetes_validate.validate(document, "1.37", strict=True)
    stateful = next(document for document in documents if document["kind"] == "StatefulSet")
    services = {document["metadata"]["name"] for document in documents if document["kind"] == "Service"}
    assert stateful["spec"]["serviceName"] in services
    assert (
        stateful["spec"]["selector"]["matchLabels"].items()
        <= stateful["spec"]["template"]["metadata"]["labels"].items()
    )


@pytest.mark.parametrize(
    "directory", [path for path in sorted(EXAMPLES.iterdir()) if path.is_dir()], ids=lambda p: p.name
)
def test_an_example_says_what_it_is(directory: Path) -> None:
    text = (directory / "README.md").read_text()
    assert all(path.name in text for path in directory.glob("*.yaml"))
