"""Fixtures of the overseer's tests."""

from __future__ import annotations

import pytest

from swarmguard import Overseer, OverseerConfig


@pytest.fixture
def build(clock, events):
    """Build an overseer with the test's clock, whose events are recorded, from fields of its configuration."""

    def build(registry=None, **config):
        return Overseer(OverseerConfig(**config), clock=clock, sink=events, registry=registry)

    return build


@pytest.fixture
def overseer(build):
    """Return an overseer with the default configuration."""
    return build()
