"""Requests made up from the service's own description: none of them may make it fail."""

from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from tests.unit.serve.serving import serving
from tests.unit.serve.stubs import models

# Every operation by itself, and what its answers must keep to.
OPERATIONS = 14
CHECKS = [
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
]


@pytest.mark.filterwarnings("default")  # those of what schemathesis is made of
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_makes_it_fail(mode: GenerationMode) -> None:
    """No answer is an error of the service, and each has a status and a form that the description knows."""
    with serving(models()) as address:
        operations = [
            found.ok() for found in schemathesis.openapi.from_url(f"{address}/openapi.json").get_all_operations()
        ]
        for operation in operations:
            if mode is GenerationMode.NEGATIVE and operation.method == "get":  # there is nothing to be wrong in
                continue

            @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
            @hypothesis.settings(max_examples=8, suppress_health_check=list(hypothesis.HealthCheck), database=None)
            def check(case: Any) -> None:
                case.call_and_validate(checks=CHECKS)

            check()
    assert len(operations) == OPERATIONS
