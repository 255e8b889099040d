"""The shop of examples/: an answer is lost, the client asks again, and a key decides how many orders there are."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.servers.chaos import serving
from tests.servers.processes import HOST, started

ROOT = Path(__file__).parent.parent.parent
SHOP = ROOT / "examples" / "shop"


@pytest.mark.slow
@pytest.mark.parametrize(("words", "orders"), [((), 2), (("--key",), 1)], ids=["without a key", "with a key"])
def test_the_lost_answer_makes_two_orders_unless_there_is_a_key(
    words: tuple[str, ...], orders: int, tmp_path: Path
) -> None:
    with started(lambda port: [sys.executable, str(SHOP / "server.py"), str(port)], tmp_path) as shop:
        environment = {"SHOP_PROXY_PORT": "0", "SHOP_UPSTREAM": f"{HOST}:{shop}"}
        with serving(tmp_path, str(ROOT / "configs" / "lost-response.yaml"), environment=environment) as chaos:
            url = f"http://{HOST}:{chaos.port('shop')}"
            client = [sys.executable, str(SHOP / "client.py"), *words, url]
            told = subprocess.run(client, capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()
            assert told == [
                "attempt 1: no response in 0.5 s",
                f"attempt 2: order {orders} is taken",
                f"the shop has {orders} order(s)",
            ]
            with urllib.request.urlopen(f"http://{HOST}:{shop}/orders", timeout=60.0) as answer:
                assert len(json.load(answer)) == orders, "as the shop itself says"
            [touched] = chaos.logged(" message_touched ")
            assert touched.rstrip().endswith(
                "proxy=shop fault=lost-response type=http_drop_response connection=1 exchange=1 method=POST "
                "path=/orders suppressed=0"
            )
            samples = chaos.metrics()
            assert 'chaosproxy_exchanges_total{method="POST",proxy="shop",route="/orders",status="none"} 1.0' in samples
            assert 'chaosproxy_exchanges_total{method="POST",proxy="shop",route="/orders",status="2xx"} 1.0' in samples
