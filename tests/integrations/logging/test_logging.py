"""`LoggingSink` with the standard library's logging, structlog and OpenTelemetry."""

from __future__ import annotations

import io
import json
import logging
import logging.handlers
import pickle
import queue
import subprocess
import sys
import warnings
from datetime import UTC, datetime

import pytest
import structlog
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from swarmguard import BreakerMode, CircuitBreaker, CircuitBreakerConfig, Event, Overseer, OverseerConfig
from swarmguard.logging import LoggingSink
from swarmguard.testing import EventRecorder

DEBUG, INFO, WARNING, ERROR, CRITICAL = (logging.getLevelName(n) for n in (10, 20, 30, 40, 50))


@pytest.fixture
def lines(caplog):
    """Return a function that returns the levels and lines logged since its last call."""
    caplog.set_level(logging.DEBUG)

    def take():
        taken = [(record.levelname, record.getMessage()) for record in caplog.records]
        caplog.clear()
        return taken

    return take


@pytest.fixture
def logger():
    """Return a logger that does not propagate, and remove its handlers at the end."""
    logger = logging.getLogger("tests.events")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    yield logger
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = True


def unknown(**payload):
    """Return an event with an unknown topic."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Event(topic="arb.swarm.moon.rose", source="jupiter", at=at, sequence=7, payload=payload)


def test_circuit_events(clock, lines):
    """Each circuit event is one line with the change and the reason. [C3]"""
    config = CircuitBreakerConfig(failure_threshold=1, success_threshold=1, timeout_duration=30)
    breaker = CircuitBreaker("jupiter", config, clock=clock, sink=LoggingSink())
    breaker.acquire().fail()
    clock.advance(30)
    breaker.call(int)
    breaker.trip(duration=0.25)
    clock.advance(1)
    breaker.acquire().fail()
    breaker.reset()
    breaker.set_mode(BreakerMode.ISOLATED)
    assert lines() == [
        (WARNING, "circuit 'jupiter' opened for 30 s (threshold)"),
        (INFO, "circuit 'jupiter' half-opened (probe_admitted)"),
        (INFO, "circuit 'jupiter' closed (recovered)"),
        (WARNING, "circuit 'jupiter' opened for 0.25 s (tripped)"),
        (INFO, "circuit 'jupiter' half-opened (probe_admitted)"),
        (WARNING, "circuit 'jupiter' opened for 30 s (probe_failed)"),
        (INFO, "circuit 'jupiter' closed (reset)"),
        (WARNING, "circuit 'jupiter' changed its mode from Normal to Isolated"),
    ]


def test_agent_events(clock, lines):
    """Each agent event is one line, at a level that rises with the severity. [O5]"""
    overseer = Overseer(OverseerConfig(max_restart_attempts=1), clock=clock, sink=LoggingSink())
    agent_id = overseer.register_agent("Scanner")
    agent = f"agent 'Scanner' ({agent_id})"
    for _ in range(6):
        overseer.record_agent_failure(agent_id, ConnectionError("no feed"))
    overseer.begin_restart(agent_id)
    overseer.record_agent_recovery(agent_id)
    clock.advance(30)
    overseer.check_heartbeats()
    overseer.record_agent_heartbeat(agent_id)
    overseer.unregister_agent(agent_id)
    assert lines() == [
        (INFO, f"{agent} started"),
        (WARNING, f"{agent} went from Healthy to Degraded (failures): 'ConnectionError: no feed'"),
        (WARNING, f"{agent} went from Degraded to Unhealthy (failures): 'ConnectionError: no feed'"),
        (ERROR, f"{agent} went from Unhealthy to Dead (failures): 'ConnectionError: no feed'"),
        (INFO, f"{agent} recovered (restart)"),
        (ERROR, f"{agent} went from Healthy to Dead (heartbeat_timeout)"),
        (CRITICAL, f"{agent} ran out of restarts (1)"),
        (INFO, f"{agent} recovered (heartbeat)"),
        (INFO, f"{agent} stopped"),
    ]


def test_an_exhausted_agent_shows_its_last_error(clock, lines):
    """The line of an exhausted agent includes its last error. [O7]"""
    overseer = Overseer(OverseerConfig(max_restart_attempts=1), clock=clock, sink=LoggingSink())
    agent_id = overseer.register_agent("Scanner")
    overseer.record_restart_failure(agent_id, OSError("no route"))
    assert lines()[-1] == (CRITICAL, f"agent 'Scanner' ({agent_id}) ran out of restarts (1): 'OSError: no route'")


def test_pausing_the_swarm(clock, lines):
    """Pausing is logged as a warning, resuming as info. [O9]"""
    overseer = Overseer(clock=clock, sink=LoggingSink())
    overseer.pause_swarm()
    overseer.resume_swarm()
    assert lines() == [(WARNING, "the swarm was paused"), (INFO, "the swarm was resumed")]


@pytest.mark.parametrize("prefix", ["x", "agent", "a.b.c"])
def test_topic_prefix_does_not_matter(clock, lines, prefix):
    """The line depends on the end of the topic, whatever the prefix. [C3]"""
    CircuitBreaker("jupiter", clock=clock, sink=LoggingSink(), topic_prefix=prefix).trip()
    overseer = Overseer(OverseerConfig(topic_prefix=prefix), clock=clock, sink=LoggingSink())
    overseer.pause_swarm()
    assert lines() == [(WARNING, "circuit 'jupiter' opened for 30 s (tripped)"), (WARNING, "the swarm was paused")]


def test_every_topic_has_a_line_of_its_own():
    """Every documented topic has its own line. [C3]"""
    from swarmguard import logging as module

    topics = ["agent.started", "agent.stopped", "agent.failed", "agent.recovered", "agent.exhausted"]
    topics += ["paused", "resumed", "circuit.opened", "circuit.half_opened", "circuit.closed", "circuit.mode_changed"]
    assert set(module._LINES) == set(topics)


def test_an_unknown_topic(lines):
    """An event with an unknown topic is logged with its payload."""
    LoggingSink()(unknown(phase="full"))
    assert lines() == [(INFO, "arb.swarm.moon.rose from 'jupiter': {'phase': 'full'}")]


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "100 %s %(name)s", "\x1b[31m", "\ud800", 'it\'s "quoted"'])
def test_names_and_errors_are_escaped(clock, lines, text):
    """Names and errors are escaped, so that an event is one printable line. [R3]"""
    breaker = CircuitBreaker(text, clock=clock, sink=LoggingSink())
    breaker.trip()
    overseer = Overseer(clock=clock, sink=LoggingSink())
    overseer.record_agent_failure(overseer.register_agent(text), text)
    LoggingSink()(unknown(phase=text))
    messages = [message for _, message in lines()]
    assert len(messages) == 4
    for message in messages:
        assert repr(text) in message
        assert message.isprintable()
        message.encode()


def test_the_whole_event_is_in_the_record(clock, caplog):
    """`record.swarmguard` is the event as a dict, and no other attribute is added. [C3]"""
    caplog.set_level(logging.INFO)
    events = EventRecorder()
    CircuitBreaker("jupiter", clock=clock, sink=events).trip()
    LoggingSink()(events.events[0])
    [record] = caplog.records
    assert record.swarmguard == events.events[0].to_dict()
    assert json.loads(json.dumps(record.swarmguard)) == record.swarmguard
    assert record.name == "swarmguard.events"
    assert set(vars(record)) - set(vars(logging.makeLogRecord({}))) <= {"swarmguard", "message", "asctime"}


def test_no_payload_can_collide(caplog):
    """The keys of a payload may equal attributes of a log record. [C3]"""
    caplog.set_level(logging.INFO)
    taken = dict.fromkeys(("name", "args", "message", "asctime", "exc_info", "levelname", "event", "topic"), "mine")
    LoggingSink()(unknown(**taken))
    [record] = caplog.records
    assert record.swarmguard["payload"] == taken
    assert record.getMessage() == f"arb.swarm.moon.rose from 'jupiter': {taken}"
    assert record.levelname == "INFO"


def test_the_logger_level(clock, logger):
    """No record is created below the logger's level."""
    waiting = queue.SimpleQueue()
    logger.addHandler(logging.handlers.QueueHandler(waiting))
    logger.setLevel(logging.WARNING)
    breaker = CircuitBreaker("jupiter", clock=clock, sink=LoggingSink(logger))
    breaker.trip()
    breaker.reset()
    assert waiting.get_nowait().levelname == WARNING
    assert waiting.empty()


def test_records_can_be_queued_and_pickled(clock, logger):
    """A record keeps its line and its event through a queue handler and through pickle."""
    waiting = queue.SimpleQueue()
    logger.addHandler(logging.handlers.QueueHandler(waiting))
    CircuitBreaker("jupiter", clock=clock, sink=LoggingSink(logger)).trip()
    record = pickle.loads(pickle.dumps(waiting.get_nowait()))
    assert record.getMessage() == "circuit 'jupiter' opened for 30 s (tripped)"
    assert record.swarmguard["payload"]["reason"] == "tripped"


def test_a_logger_adapter(clock, lines):
    """A `LoggerAdapter` can be the logger."""
    adapter = logging.LoggerAdapter(logging.getLogger("tests.adapted"), {"request": "r-1"})
    CircuitBreaker("jupiter", clock=clock, sink=LoggingSink(adapter)).trip()
    assert lines() == [(WARNING, "circuit 'jupiter' opened for 30 s (tripped)")]


@pytest.mark.parametrize("wrong", ["swarmguard", logging.INFO, print])
def test_a_wrong_logger(wrong):
    """An object without a `log` method is a `TypeError`."""
    with pytest.raises(TypeError, match=r"^logger must be a logger, .*, got "):
        LoggingSink(wrong)


def through_structlog(logger, renderer, *more):
    """Format the logger's records with structlog, as its documentation recommends, and return the stream."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    formatter = structlog.stdlib.ProcessorFormatter
    handler.setFormatter(
        formatter(
            processors=[formatter.remove_processors_meta, renderer],
            foreign_pre_chain=[structlog.stdlib.add_log_level, *more],
        )
    )
    logger.addHandler(handler)
    return stream


def test_structlog_console(clock, logger):
    """On structlog's console, the line is unchanged."""
    stream = through_structlog(logger, structlog.dev.ConsoleRenderer(colors=False))
    breaker = CircuitBreaker("jupiter", clock=clock, sink=LoggingSink(logger))
    breaker.trip()
    breaker.reset()
    assert [line.strip() for line in stream.getvalue().splitlines()] == [
        "[warning  ] circuit 'jupiter' opened for 30 s (tripped)",
        "[info     ] circuit 'jupiter' closed (reset)",
    ]


def test_structlog_json(clock, logger):
    """In structlog's JSON, `ExtraAdder` adds the event to the line."""
    stream = through_structlog(logger, structlog.processors.JSONRenderer(), structlog.stdlib.ExtraAdder())
    events = EventRecorder()
    CircuitBreaker("jupiter", clock=clock, sink=events).trip()
    LoggingSink(logger)(events.events[0])
    shown = json.loads(stream.getvalue())
    shown.pop("message", None)  # set by pytest's own handler
    assert shown == {
        "event": "circuit 'jupiter' opened for 30 s (tripped)",
        "level": "warning",
        "swarmguard": events.events[0].to_dict(),
    }


@pytest.mark.parametrize("get_logger", [structlog.get_logger, structlog.stdlib.get_logger], ids=["own", "stdlib"])
def test_a_structlog_logger(clock, get_logger):
    """A structlog logger can be the logger; the event is its `extra`."""
    with structlog.testing.capture_logs() as captured:
        CircuitBreaker("jupiter", clock=clock, sink=LoggingSink(get_logger())).trip()
    [entry] = captured
    assert entry["log_level"] == "warning"
    assert entry["extra"]["swarmguard"]["payload"]["reason"] == "tripped"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {
            "wrapper_class": structlog.stdlib.BoundLogger,
            "processors": [structlog.stdlib.PositionalArgumentsFormatter(), structlog.processors.JSONRenderer()],
        },
    ],
    ids=["default", "stdlib"],
)
def test_a_structlog_logger_formats_the_line(clock, settings):
    """A structlog logger formats the line as `logging` does."""
    stream = io.StringIO()
    defaults = {"processors": [structlog.processors.JSONRenderer()]}
    bound = structlog.wrap_logger(structlog.PrintLogger(stream), **(defaults | settings))
    CircuitBreaker("jupiter", clock=clock, sink=LoggingSink(bound)).trip()
    assert json.loads(stream.getvalue())["event"] == "circuit 'jupiter' opened for 30 s (tripped)"


def test_opentelemetry(clock, logger):
    """OpenTelemetry's handler exports the line, the severity, and the event as an attribute."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    with warnings.catch_warnings():  # the SDK's handler is moving to another package
        warnings.simplefilter("ignore", DeprecationWarning)
        logger.addHandler(LoggingHandler(logger_provider=provider))
    CircuitBreaker("jupiter", clock=clock, sink=LoggingSink(logger)).trip()
    [exported] = exporter.get_finished_logs()
    assert exported.log_record.body == "circuit 'jupiter' opened for 30 s (tripped)"
    assert exported.log_record.severity_text == "WARN"
    assert exported.log_record.attributes["swarmguard"]["payload"]["reason"] == "tripped"
    provider.shutdown()


def test_the_module_needs_no_library():
    """The module imports only the standard library and small modules of swarmguard."""
    show = "import sys, swarmguard.logging; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in loaded if name.startswith(("structlog", "anyio", "swarmguard._breaker"))]
