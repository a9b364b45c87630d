"""Requests that a machine makes of the description: no errors of the server, no answer that is not described."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from api_server import served

schemathesis = pytest.importorskip("schemathesis")
positive_data_acceptance = pytest.importorskip("schemathesis.specs.openapi.checks").positive_data_acceptance


def test_generated_requests_find_no_fault(quick_folder: Path) -> None:
    from cogvideox.serving.job import QueueLimits

    queue = QueueLimits(max_queued=0, max_queued_per_owner=0)
    with served(quick_folder, queue=queue) as api:
        api.complete(api.claim() if api.create() else None)
        schema = schemathesis.openapi.from_url(f"{api.url}/openapi.json")
        left_out = ("/v1/videos/sync", "/v1/videos/{video_id}/events")  # these wait for a worker
        failures: list[str] = []
        for found in schema.get_all_operations():
            operation = found.ok()
            if operation.path in left_out:
                continue
            quick = settings(
                max_examples=12,
                deadline=None,
                database=None,
                derandomize=True,
                phases=(Phase.generate,),
                suppress_health_check=list(HealthCheck),
            )

            @quick
            @given(case=operation.as_strategy())
            def check(case) -> None:
                answer = case.call(base_url=api.url)
                if answer.status_code >= 500 and answer.status_code not in (501, 503):
                    failures.append(f"{case.method} {case.path}: {answer.status_code} {answer.text[:200]}")
                # What a model can make is not in the schema: some requests that fit it are refused by name.
                case.validate_response(answer, excluded_checks=[positive_data_acceptance])

            check()
        assert not failures, failures[:3]
