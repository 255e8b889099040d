"""`serve`: run proxies and the control API until a signal."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from chaosproxy.cli.exits import CannotStart
from chaosproxy.cli.files import UnsupportedFile, load_file
from chaosproxy.cli.standard import ReadyLine, unblock_stderr
from chaosproxy.cli.types import ADDRESS, WholeNumber
from chaosproxy.declare import Whole
from chaosproxy.errors import ChaosproxyError
from chaosproxy.model import Address, Config
from chaosproxy.seed import Seed

if TYPE_CHECKING:
    from chaosproxy.app import LoopChoice, Running
    from chaosproxy.control.preflight import Prepared

__all__ = ["loop_option", "serve"]

loop_option = click.option(
    "--loop",
    type=click.Choice(["auto", "uvloop", "asyncio"]),
    default="auto",
    envvar="CHAOSPROXY_LOOP",
    hidden=True,
    help="The event loop; auto uses uvloop if it is installed.",
)


@click.command()
@click.argument("config", type=click.Path(path_type=Path), required=False)
@click.option("--control", type=ADDRESS, metavar="HOST:PORT", help="Address of the control API; overrides the file.")
@click.option("--seed", type=WholeNumber(Whole()), metavar="N", help="Same seed, same decisions; overrides the file.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True,
              help="Format of the log on stderr.")  # fmt: skip
@click.option("--journal", type=click.Path(path_type=Path), metavar="FILE", help="Write every event to FILE.")
@loop_option
@click.pass_obj
def serve(
    missing: frozenset[int],
    config: Path | None,
    control: Address | None,
    seed: int | None,
    log_format: Literal["text", "json"],
    journal: Path | None,
    loop: LoopChoice,
) -> None:
    """Run proxies and the control API until SIGTERM or SIGINT.

    Without CONFIG it starts without proxies; add them over REST. It prints one line once every
    listener is bound: ready control=http://HOST:PORT proxies=N
    """
    from chaosproxy.control.preflight import Refusal, preflight
    from chaosproxy.net.kernel.capabilities import probe

    def prepare(given: Config) -> Prepared | Refusal:
        wanted = given if seed is None else replace(given, seed=seed)
        if control is not None:
            wanted = replace(wanted, control=replace(wanted.control, listen=control))
        return preflight(wanted, Seed.drawn() if wanted.seed is None else Seed(wanted.seed), probe())

    prepared, file = (prepare(Config()), None) if config is None else load_file(config, prepare)
    assert not isinstance(prepared, Refusal), "nothing is wrong with an empty configuration"

    from chaosproxy import (
        app,  # imported late: aiohttp and uvloop take a while to import, and most commands need neither
    )
    from chaosproxy.observe import JournalFile, start_logging

    log = start_logging(log_format, logging.INFO)
    unblock_stderr(log)
    ready = ReadyLine(missing)
    try:
        loop_name = app.choose_loop(loop)
        lines = None if journal is None else JournalFile(journal)
        main = app.serve(prepared, loop_name, lambda here: ready.print(_announcement(here)), log, lines)
        app.run_on(loop_name, main)
    except ChaosproxyError as error:
        if config is not None and file is not None and error.problems:
            raise UnsupportedFile(config, file.locate(error.problems)) from None
        raise CannotStart(str(error), error.code) from None
    except ModuleNotFoundError as error:
        raise CannotStart(str(error)) from None
    finally:
        ready.close()


def _announcement(here: Running) -> str:
    return f"ready control={here.control_url} proxies={len(here.supervisor.proxies())}"
