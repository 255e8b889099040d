"""`demo`: show faults and their effects in one command."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TextIO, cast

import click

from chaosproxy.cli.exits import CannotStart, VerdictFailed
from chaosproxy.cli.serve import loop_option
from chaosproxy.cli.standard import unblock_stderr
from chaosproxy.cli.types import ADDRESS
from chaosproxy.errors import CannotListen
from chaosproxy.model import Address

if TYPE_CHECKING:
    from chaosproxy.app import LoopChoice

__all__ = ["demo"]


@click.command()
@click.option("--once", is_flag=True, help="End after the acts; exit with 1 if an act did not show its effect.")
@click.option("--control", type=ADDRESS, default="127.0.0.1:0", metavar="HOST:PORT", help="Address of the control API.")
@loop_option
def demo(once: bool, control: Address, loop: LoopChoice) -> None:
    """Show chaosproxy between a client and a store.

    Nothing needs to be installed or configured. The walk injects one fault after the other and
    shows how the client reacts. Then everything keeps running until Ctrl-C, so that you can
    inject faults yourself.
    """
    from rich.console import Console

    from chaosproxy import app  # imported late, as in `serve`
    from chaosproxy.observe import LineStream, LineWriter, start_logging

    log = start_logging("text", logging.WARNING)
    unblock_stderr(log)
    out = LineWriter(1, lambda lines: f"({lines} lines were not printed)\n".encode())
    try:
        loop_name = app.choose_loop(loop)
        console = Console(soft_wrap=True, file=cast(TextIO, LineStream(out, 1)))
        failed = app.run_on(loop_name, app.run_demo(control, once, loop_name, console, log))
    except (CannotListen, ModuleNotFoundError) as error:
        raise CannotStart(str(error)) from None
    finally:
        out.close()
    if once and failed:
        raise VerdictFailed(f"these acts did not show their effect: {', '.join(failed)}")
