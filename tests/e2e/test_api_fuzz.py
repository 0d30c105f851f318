"""A small part of `make fuzz`, the same on every run: hostile requests are refused in order, and nothing breaks."""

import json

from tests.e2e.house import House
from tests.fuzz.generated import operations_of, requests_of
from tests.fuzz.judging import Target, prepare, send_mutations
from tests.fuzz.mutations import Sent

GROUP = "/openapi/v3/apis/coordination.k8s.io/v1"


def test_hostile_requests_are_refused_without_a_crash(house: House) -> None:
    house.up()
    target = Target(house)
    try:
        prepare(target)
        send_mutations(target, 20, 800)
        document = json.loads(target.send(Sent("GET", GROUP))[2])
        for operation in operations_of(document):
            for sent in requests_of(operation, 20, 2):
                target.judge(sent, operation)
    finally:
        target.close()
    assert target.problems == []
    assert target.alarms() == []
    assert min(target.statuses.get(code, 0) for code in (200, 201, 400, 404, 409, 415, 422)) > 0, target.statuses
