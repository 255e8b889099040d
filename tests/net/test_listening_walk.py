"""A proxy whose address, faults and `enabled` change at random: its port stays, and nobody else gets it."""

from __future__ import annotations

import contextlib
import errno
import random
import socket
from dataclasses import replace

import pytest

from chaosproxy.errors import CannotListen
from chaosproxy.model import Address, ProxySpec
from tests.net.building import fault
from tests.net.harness import Stage, run, turns
from tests.supervising import change_proxy

REFUSING = (fault("down", type="refuse"),)
HOSTS = {"127.0.0.1": [4], "0.0.0.0": [4], "::": [4, 6], "::1": [6]}
FAMILIES = {4: (socket.AF_INET, "127.0.0.1"), 6: (socket.AF_INET6, "::1")}


def versions(spec: ProxySpec) -> list[int]:
    return [one for one in HOSTS[spec.listen.host] if one == 6 or not spec.ipv6only]


def connected(version: int, port: int) -> bool:
    family, host = FAMILIES[version]
    with socket.socket(family) as client:
        result = client.connect_ex((host, port))
    assert result in (0, errno.ECONNREFUSED)
    return result == 0


def can_be_taken(version: int, port: int) -> bool:
    family, host = FAMILIES[version]
    with socket.socket(family) as other, contextlib.suppress(OSError):
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((host, port))
        other.listen()
        return True
    return False


@pytest.mark.parametrize("seed", range(6))
def test_the_port_stays_and_is_nobody_elses(loop_name: str, seed: int) -> None:
    dice = random.Random(seed)

    def changed(spec: ProxySpec, port: int) -> ProxySpec:
        match dice.choice(["enabled", "faults", "host", "ipv6only", "all"]):
            case "enabled":
                return replace(spec, enabled=not spec.enabled)
            case "faults":
                return replace(spec, faults=() if spec.faults else REFUSING)
            case "host":
                return replace(spec, listen=Address(dice.choice(list(HOSTS)), port), ipv6only=False)
            case "ipv6only":
                return replace(spec, ipv6only=not spec.ipv6only and ":" in spec.listen.host)
            case _:
                listen = Address(dice.choice(list(HOSTS)), port)
                faults = dice.choice([(), REFUSING])
                return replace(spec, enabled=dice.random() < 0.5, listen=listen, ipv6only=False, faults=faults)

    async def scenario(stage: Stage) -> None:
        running = await stage.proxy_to("127.0.0.1:1", listen=dice.choice(["127.0.0.1:0", "[::]:0"]))
        taken = Address(*stage.listener().getsockname())
        assert running.listener is not None
        port = running.listener.addresses[0].port
        assert port is not None
        for _ in range(40):
            spec = changed(running.spec, port)
            await change_proxy(stage.supervisor, spec, "test")
            if dice.random() < 0.2:  # a change that fails leaves it as it is
                with pytest.raises(CannotListen):
                    await change_proxy(stage.supervisor, replace(spec, enabled=True, listen=taken), "test")
            assert running.listener.addresses[0].port == port
            for version in FAMILIES:
                bound = version in versions(spec)
                assert can_be_taken(version, port) is not bound, spec
                assert connected(version, port) is (bound and spec.enabled and not spec.faults), spec
            await turns()
        assert not [one for one in stage.events if one.kind == "listen_failed"]

    run(loop_name, scenario)
