"""Random settings of every fault type. Pure."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

__all__ = ["CHOICES", "LOSSLESS", "choose"]

Settings = dict[str, object]


def _log(dice: Random, least: float, most: float) -> float:
    """Return a number whose logarithm is uniform."""
    return float(least * (most / least) ** dice.random())


def _ms(dice: Random, least: float, most: float) -> str:
    return f"{_log(dice, least, most):.3f}ms"


def _size(dice: Random, least: int, most: int) -> str:
    return f"{int(_log(dice, least, most))}B"


def _rate(dice: Random, least: float, most: float) -> str:
    return f"{int(_log(dice, least, most))}B/s"


def _latency(dice: Random) -> Settings:
    shapes = ["uniform", "normal", "lognormal", "pareto", "exponential"]
    return {"delay": _ms(dice, 0.1, 300), "jitter": _ms(dice, 0.1, 100), "distribution": dice.choice(shapes)}


def _slicer(dice: Random) -> Settings:
    return {"size": _size(dice, 1, 4096), "gap": dice.choice(["0s", _ms(dice, 0.001, 1)])}


def _match(dice: Random) -> Settings:
    return {"match": {"path": dice.choice(["/a", "/b", "/**"])}}


CHOICES: dict[str, Callable[[Random], Settings]] = {
    "latency": _latency,
    "bandwidth": lambda dice: {"rate": _rate(dice, 1e4, 1e9), "shared": dice.random() < 0.3},
    "stall": lambda dice: {"for": _ms(dice, 1, 300), "every": _ms(dice, 301, 2000)},
    "blackhole": lambda dice: {},
    "packet_loss": lambda dice: {"rate": f"{_log(dice, 0.01, 5):.3f}%"},
    "slicer": _slicer,
    "limit_data": lambda dice: {"size": _size(dice, 1, 10**7), "then": dice.choice(["close", "reset", "stall"])},
    "limit_time": lambda dice: {"time": _ms(dice, 1, 5000), "then": dice.choice(["close", "reset", "stall"])},
    "slow_close": lambda dice: {"delay": _ms(dice, 1, 2000)},
    "slow_accept": lambda dice: {"delay": _ms(dice, 1, 1000)},
    "tls_handshake": lambda dice: {"how": dice.choice(["stall", "reset"])},
    "refuse": lambda dice: {"existing": dice.choice(["keep", "close", "reset"])},
    "unreachable": lambda dice: {"existing": dice.choice(["keep", "close", "reset"])},
    "partition": lambda dice: {"mode": dice.choice(["auto", "stream"])},
    "pause": lambda dice: {},
    "reset": lambda dice: {"delay": _ms(dice, 1, 1000)} if dice.random() < 0.5 else {"size": _size(dice, 1, 10**6)},
    "corrupt": lambda dice: {"rate": f"{_log(dice, 0.001, 100):.4f}%", "unit": dice.choice(["bit", "byte"])},
    "http_delay": lambda dice: {"delay": _ms(dice, 1, 500), **_match(dice)},
    "http_abort": lambda dice: {"status": dice.choice([400, 429, 500, 503]), **_match(dice)},
    "http_drop_request": lambda dice: {"close_after": _ms(dice, 1, 500), **_match(dice)},
    "http_drop_response": lambda dice: {"close_after": _ms(dice, 1, 500), **_match(dice)},
    "http_duplicate": lambda dice: {"copies": dice.randint(1, 3), **_match(dice)},
    "http_truncate": lambda dice: {"share": f"{dice.randint(0, 100)}%", **_match(dice)},
    "http_corrupt": lambda dice: {"rate": f"{_log(dice, 0.01, 100):.4f}%", **_match(dice)},
    "http_slow_body": lambda dice: {"rate": _rate(dice, 1e3, 1e8), **_match(dice)},
    "http_headers": lambda dice: {"set": {"X-Soak": str(dice.random())}, **_match(dice)},
    "http_clock_skew": lambda dice: {"offset": f"{dice.randint(-3600, 3600)}s", **_match(dice)},
    "http_reset": lambda dice: {"size": _size(dice, 1, 10**5), **_match(dice)},
}
"""For each type, a function that draws its settings."""

LOSSLESS = ("latency", "bandwidth", "stall", "packet_loss", "slicer", "slow_close", "slow_accept", "partition", "pause")
"""Types under which every byte arrives in the end, once the fault is removed."""


def choose(dice: Random, types: list[str]) -> Settings:
    """Draw a fault of one of these types, with its placement."""
    type = dice.choice(types)
    fault: Settings = {"type": type, **CHOICES[type](dice)}
    if type not in ("refuse", "unreachable", "tls_handshake", "slow_accept") and not type.startswith("http_"):
        fault["direction"] = dice.choice(["upstream", "downstream", "both"])
    if dice.random() < 0.3:
        fault["probability"] = round(dice.uniform(0.1, 1), 3)
    if dice.random() < 0.5:
        fault["ttl"] = _ms(dice, 50, 3000)
    return fault
