"""paho-mqtt against Mosquitto and pika against RabbitMQ, told from outside. docs/reactions.md has the table."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.pace import PAUSES_S
from tests.clients.policy import assert_no_false_claim, assert_recovered, assert_rhythm, assert_timeouts
from tests.clients.stage import FAULTS, Program, Stage, stage
from tests.servers.brokers import mosquitto, rabbitmq

pytestmark = [pytest.mark.slow, pytest.mark.real_server]

FAULT_S, AFTER_S = 12.0, 6.0
KEEPALIVE_S = 2.0
PATIENCE_S = 0.5
"""The time in which a message must be confirmed."""
FAULTS_OF = {"mqtt": tuple(FAULTS), "mqtt_idle": tuple(FAULTS), "amqp": tuple(FAULTS)}


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with mosquitto() as mqtt, rabbitmq() as amqp:
        ports = {"mqtt": mqtt, "mqtt_idle": mqtt, "amqp": amqp}
        programs = [Program("broker_programs", kind, ports[kind], faults, 1) for kind, faults in FAULTS_OF.items()]
        with stage(tmp_path_factory.mktemp("brokers"), programs) as made:
            made.play(FAULT_S, AFTER_S)
            yield made


@pytest.mark.parametrize(
    "proxy", [f"{kind}-{fault}" for kind in ("mqtt", "mqtt_idle") for fault in ("reset", "refuse")]
)
def test_reconnect_delay_set_is_told(proxy: str, clients: Stage) -> None:
    """The first pause, of 0.1 s, follows the end of a connection and is none between two attempts."""
    told = clients.told(proxy)
    assert_rhythm(told, "exponential", 0.2, 2.0, 1.6)
    assert told.proxy["retries"]["backoff_of"] == "reconnects"


@pytest.mark.parametrize("fault", ["stall", "blackhole"])
def test_the_keepalive_is_told_as_the_time_out_of_an_idle_client(fault: str, clients: Stage) -> None:
    told = clients.told(f"mqtt_idle-{fault}")
    assert_timeouts(told, [KEEPALIVE_S], is_claimed=True, kinds=["unknown", "read"])


@pytest.mark.parametrize("fault", ["stall", "blackhole", "partition"])
def test_a_client_that_keeps_its_connection_is_told_as_such(fault: str, clients: Stage) -> None:
    """The program stops to wait for a confirmation after 0.5 s, and paho-mqtt goes on with the same connection."""
    gave_up = clients.told(f"mqtt-{fault}").proxy["gave_up"]
    assert (gave_up["count"], gave_up["timeouts"]) == (0, [])
    assert gave_up["none_within_s"] == pytest.approx(FAULT_S, abs=1.5)


@pytest.mark.parametrize("fault", ["reset", "refuse"])
def test_pikas_retry_delay_is_told(fault: str, clients: Stage) -> None:
    told = clients.told(f"amqp-{fault}")
    assert_rhythm(told, "constant", 0.5, None, None)
    assert told.proxy["retries"]["backoff_of"] == "reconnects"


@pytest.mark.parametrize("fault", ["stall", "blackhole", "partition"])
def test_a_client_that_missed_heartbeats_is_not_told_as_one_that_waits(fault: str, clients: Stage) -> None:
    told = clients.told(f"amqp-{fault}")
    assert any(one.error == "AMQPHeartbeatTimeout" for one in told.lines)
    assert told.proxy["gave_up"]["none_within_s"] is None, told.story
    assert_timeouts(told, [1.0], is_claimed=False, kinds=["unknown", "read", "connect"])  # of the handshake


@pytest.mark.parametrize("proxy", [f"{kind}-{fault}" for kind in ("mqtt", "amqp") for fault in FAULTS])
def test_the_recovery_is_that_of_the_log(proxy: str, clients: Stage) -> None:
    """After a blackhole, paho-mqtt never sends again: the confirmations of all 20 messages in flight are lost.

    It connects in a thread of its own, while a call waits for the confirmation of its message, or pauses.
    """
    told = clients.told(proxy)
    assert_recovered(told, early_s=PATIENCE_S + PAUSES_S[1] if proxy.startswith("mqtt") else 0.0)
    assert_no_false_claim(told)
    if proxy == "mqtt-blackhole":
        assert told.proxy["recovered_after_s"] is None
