"""`python -m tests.soak`: run the soak, print the measurements, and exit with 1 if a promise was broken."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import re
import statistics
import sys
import time

import aiohttp
import uvloop

from tests.soak.abuse import abuse
from tests.soak.storm import heal, storm
from tests.soak.traffic import checked, http_client, unchecked
from tests.soak.verdict import SLOW, Findings, judge
from tests.soak.world import HTTP, LOSSLESS_PROXIES, LOSSY_PROXIES, World, running

CONNECTIONS = 200
STEPS = 100_000
STEP_S = 45e-9
"""Seconds for a step of a loop in Python on the machine of the promise; a processor of a laptop takes as long."""
SLOWEST = 3.0
_SHOWN = 20
"""Broken promises that are printed."""
_LINES = 6
"""Lines of the log that are printed of a connection that was broken: its end, above all."""


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.soak", description="Try everything at once, for a while.")
    parser.add_argument("--seconds", type=float, default=3600, help="how long (default: one hour)")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same changes (not their times)")
    args = parser.parse_args()
    findings = Findings(slowness=slowness())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_soak(findings, args.seconds, args.seed))
    _print(findings)
    broken = judge(findings)
    for line in broken[:_SHOWN]:
        print(f"BROKEN: {line}")
    if len(broken) > _SHOWN:
        print(f"BROKEN: {len(broken) - _SHOWN} more")
    print("the soak has failed" if broken else "the soak has passed")
    return 1 if broken else 0


def slowness() -> float:
    """Return how many times as long as STEP_S this processor takes for a step of a loop, from 1 to SLOWEST."""
    shortest = math.inf
    for _ in range(9):
        began, total = time.thread_time(), 0
        for number in range(STEPS):
            total += number & 7
        shortest = min(shortest, (time.thread_time() - began) / STEPS)
    return min(max(1.0, shortest / STEP_S), SLOWEST)


async def _soak(findings: Findings, seconds: float, seed: int) -> None:
    async with running(findings, seed) as world:
        findings.idle = world.sample()
        stop = asyncio.Event()
        tasks = {asyncio.create_task(work, name=work.__qualname__) for work in _work(world, seed, stop)}
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0 and world.process.returncode is None:
            with contextlib.suppress(OSError):  # it has just ended
                findings.samples.append(world.sample())
            await asyncio.sleep(min(left, 1.0))
        stop.set()
        changes = {task for task in tasks if task.get_name() in ("storm", "abuse")}
        for task in changes:
            if task.get_name() == "abuse":
                task.cancel()
        await _ended(changes, findings, within=40)
        if world.process.returncode is None:
            try:
                await heal(world)
            except (OSError, TimeoutError, aiohttp.ClientError, AssertionError) as error:
                findings.damaged.append(f"the last heal failed: {error!r}")
        await _ended(tasks - changes, findings, within=40)
        if world.process.returncode is None:
            findings.settled = await _settled(world)


async def _ended(tasks: set[asyncio.Task[None]], findings: Findings, within: float) -> None:
    """Wait until tasks have ended, and note those that fail or do not end."""
    ended, late = await asyncio.wait(tasks, timeout=within)
    for task in late:
        findings.damaged.append(f"{task.get_name()} did not end within {within} s")
        task.cancel()
    for task in ended:
        if not task.cancelled() and (error := task.exception()):
            findings.damaged.append(f"{task.get_name()} failed: {error!r}")
    if late:
        await asyncio.wait(late, timeout=5)


def _work(world: World, seed: int, stop: asyncio.Event):  # type: ignore[no-untyped-def]  # tests are not type-checked
    for number in range(CONNECTIONS // 2):
        yield checked(world, LOSSLESS_PROXIES[number % len(LOSSLESS_PROXIES)], number, stop)
        kind, proxies = (http_client, HTTP) if number % 3 == 0 else (unchecked, LOSSY_PROXIES)
        yield kind(world, proxies[number % len(proxies)], number, stop)
    for number in range(3):
        yield storm(world, seed, number, stop)
        yield abuse(world, seed, number, stop)


async def _settled(world: World):  # type: ignore[no-untyped-def]  # tests are not type-checked
    """Sample the server when its connections have ended, or after a while."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(30):
            while (now := world.sample()).descriptors > world.findings.idle.descriptors + 5:
                await asyncio.sleep(0.2)
    return now


def _print(found: Findings) -> None:
    quiet = found.quiet
    print(f"{found.checked_bytes / 1e6:.0f} MB checked, {found.changes} changes, {found.abused} abusive clients")
    paged = sum(one.major_faults > 0 for one in found.waits)
    print(f"{len(found.waits)} looks, {len(quiet)} of them on a quiet machine; limits × {found.slowness:.2f}; "
          f"{paged} looks while the server's program was read from the disk")  # fmt: skip
    slow = [one for one in quiet if one.proxied > SLOW]
    stolen = sum(one.proxied_stolen + one.health_stolen for one in quiet)
    print(f"{stolen:.1f} s in which the host had taken a processor away; "
          f"{len(slow)} round trips above {SLOW * 1e3:.0f} ms with the machine's part")  # fmt: skip
    for one in slow[:_SHOWN]:
        print(f"  {one.proxied * 1e3:.0f} ms, of it {one.proxied_queued * 1e3:.0f} ms in a queue for a processor and "
              f"{one.proxied_stolen * 1e3:.0f} ms taken by the host")  # fmt: skip
    for what, seconds in (
        ("direct", [one.before for one in quiet]),
        ("proxied", [one.by_proxy for one in quiet]),
        ("proxied, with the machine's part", [one.proxied for one in quiet]),
        ("/healthz", [one.by_health for one in quiet]),
        ("/healthz, with the machine's part", [one.health for one in quiet]),
    ):
        if seconds:
            p99 = sorted(seconds)[int(len(seconds) * 0.99)]
            print(f"{what}: median {statistics.median(seconds) * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, "
                  f"longest {max(seconds) * 1e3:.1f} ms")  # fmt: skip
    if found.samples:
        most = max(one.resident for one in found.samples)
        print(f"descriptors: {found.idle.descriptors} before, {max(one.descriptors for one in found.samples)} at most, "
              f"{found.settled.descriptors} after; resident memory: {found.idle.resident / 1e6:.0f} MB before, "
              f"{most / 1e6:.0f} at most, {found.settled.resident / 1e6:.0f} after")  # fmt: skip
    lines = found.log.splitlines()
    print(f"{len(lines)} lines of log; {found.most_unread} bytes of it waited for the reader at most")
    for line in lines:
        if "loop_stalled" in line or " ERROR " in line:
            print(line[:400])
    for broken in found.damaged[:_SHOWN]:
        if (client := re.search(r" from ([\d.]+:\d+): ", broken)) is not None:
            about = [line for line in lines if client[1] in line]
            print("\n".join([f"the log of {client[1]}:", *(line[:600] for line in about[-_LINES:])]))


if __name__ == "__main__":
    sys.exit(main())
