"""A toy world for the pure plan: it does what a plan says and lets Pods come up, fail and go by hand.

No API and no clock. A Pod that is deleted lingers as terminating until `gone`.
"""

import itertools
from datetime import UTC, datetime

from localset.controllers.statefulset import plan as planning
from localset.controllers.statefulset import revisions as history
from localset.controllers.statefulset.identity import facts_of
from localset.machinery.metadata import copy_of, labels_of, name_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SINCE = "2025-12-31T00:00:00Z"


def make_set(replicas=3, *, policy="OrderedReady", strategy=None, image="A", claims=()):
    """Return a stored set `web`."""
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "web", "namespace": "default", "uid": "set-uid", "generation": 1},
        "spec": {
            "replicas": replicas,
            "serviceName": "web",
            "podManagementPolicy": policy,
            "selector": {"matchLabels": {"app": "web"}},
            "updateStrategy": strategy or {"type": "RollingUpdate"},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
            "volumeClaimTemplates": [{"metadata": {"name": c}, "spec": {}} for c in claims],
        },
        "status": {},
    }


class World:
    """A set, its Pods by ordinal, its claims and its history."""

    def __init__(self, owner):
        self.owner = owner
        self.pods = {}
        self.claims = {}
        self.revisions = []
        self.letters = {}
        self.status_writes = 0
        self._uids = itertools.count(1)

    # -- the user ------------------------------------------------------------------------------------------------------

    def change(self, **spec):
        self.owner = copy_of(self.owner)
        self.owner["spec"].update(spec)
        self.owner["metadata"]["generation"] += 1

    def template(self, image):
        template = copy_of(self.owner["spec"]["template"])
        template["spec"]["containers"][0]["image"] = image
        self.change(template=template)

    def delete(self, ordinal):
        self.pods[ordinal] = copy_of(self.pods[ordinal])
        self.pods[ordinal]["metadata"]["deletionTimestamp"] = SINCE

    # -- the kubelet ---------------------------------------------------------------------------------------------------

    def gone(self, ordinal):
        del self.pods[ordinal]

    def set_phase(self, ordinal, phase, *, ready=False):
        self.pods[ordinal] = {
            **self.pods[ordinal],
            "status": {
                "phase": phase,
                "conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": SINCE}],
            },
        }

    def running(self, ordinal):
        self.set_phase(ordinal, "Running")

    def ready(self, ordinal):
        self.set_phase(ordinal, "Running", ready=True)

    # -- the controller ------------------------------------------------------------------------------------------------

    def sync(self):
        """Run one sync; return what it did as the golden traces write it."""
        choice = history.choose_update(self.revisions, history.new_revision(self.owner, 0, 0))
        update = choice.existing
        if choice.renumber is not None:
            update = {**choice.renumber, "revision": choice.next_number}
            self.revisions = [r for r in self.revisions if name_of(r) != name_of(update)] + [update]
        elif update is None:
            update = history.new_revision(self.owner, choice.next_number, 0)
            self.revisions = [*self.revisions, update]
            self.letters[name_of(update)] = self.owner["spec"]["template"]["spec"]["containers"][0]["image"]
        current = history.choose_current(self.revisions, self.owner, update)
        facts = [facts_of(pod, self.owner) for pod in self.pods.values()]
        decided = planning.plan(planning.Snapshot(self.owner, facts, dict(self.claims), current, update, NOW))
        actions = [action for step in decided.steps if (action := self.act(step))]
        if {k: self.owner["status"].get(k) for k in decided.status} != decided.status:
            self.owner = {**self.owner, "status": decided.status}
            self.status_writes += 1
        return " ".join(actions) or "."

    def act(self, step):
        match step:
            case planning.CreateClaim():
                self.claims[name_of(step.claim)] = step.claim
            case planning.CreatePod():
                assert step.ordinal not in self.pods, f"web-{step.ordinal} exists already"
                for volume in step.pod["spec"].get("volumes") or []:
                    assert volume["persistentVolumeClaim"]["claimName"] in self.claims
                pod = copy_of(step.pod)
                pod["metadata"]["uid"] = f"pod-{next(self._uids)}"
                pod["status"] = {}
                self.pods[step.ordinal] = pod
                return f"+{step.ordinal}@{self.letters[step.revision]}"
            case planning.DeletePod():
                self.delete(step.ordinal)
                return f"-{step.ordinal}"
            case planning.UpdatePod():
                self.pods[step.ordinal] = step.pod
                return f"~{step.ordinal}"
        return ""

    # -- what a test sees ----------------------------------------------------------------------------------------------

    def counters(self):
        status = self.owner["status"]
        names = ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas")
        return "/".join(str(status[name]) for name in names)

    def letter_of(self, ordinal):
        return self.letters[labels_of(self.pods[ordinal])["controller-revision-hash"]]

    def revisions_shown(self):
        status = self.owner["status"]
        return f"{self.letters[status['currentRevision']]}/{self.letters[status['updateRevision']]}"

    def settled(self):
        """Bring the set up at its present template, all Pods Ready; return self."""
        for _ in range(200):
            if self.sync() == ".":
                unready = [o for o, p in self.pods.items() if (p.get("status") or {}).get("phase") != "Running"]
                if not unready:
                    return self
            for ordinal in list(self.pods):
                self.ready(ordinal)
        raise AssertionError("it never settles")
