"""docs/faults.md is what the declarations say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from chaosproxy.declare import params_of
from chaosproxy.model.describe import describe
from chaosproxy.model.types import FAULT_TYPES

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == describe(FAULT_TYPES), "run: python -m chaosproxy.model.describe > docs/faults.md"


def test_the_page_has_every_type_with_every_parameter() -> None:
    sections = {text.split("\n", 1)[0]: text for text in describe(FAULT_TYPES).split("\n## ")[1:]}
    assert list(sections) == list(FAULT_TYPES)
    for name, fault in FAULT_TYPES.items():
        assert fault.example in sections[name]
        assert fault.models in sections[name]
        assert all(f"| `{param.name}` |" in sections[name] for param in params_of(fault))
    assert "| `burst.loss_bad` | share | `1.0` |" in sections["packet_loss"]
    assert "| `shared` | true or false | `false` |" in sections["bandwidth"]
    assert "It has no parameters." in sections["blackhole"]


def test_it_can_be_run() -> None:
    made = subprocess.run([sys.executable, "-m", "chaosproxy.model.describe"], capture_output=True, check=True)
    assert made.stdout.decode() == describe(FAULT_TYPES)
