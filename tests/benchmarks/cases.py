"""All the cases, in the order of the table."""

from __future__ import annotations

from tests.benchmarks import breaker_cases, concurrency_cases, event_cases, overseer_cases
from tests.benchmarks.case import Case

CASES: tuple[Case, ...] = (
    *breaker_cases.CASES,
    *concurrency_cases.CASES,
    *overseer_cases.CASES,
    *event_cases.CASES,
)
