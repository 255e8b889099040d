"""The command line: parse, call, print.

    serve     run proxies                       live      status, inject, heal
    check     validate configuration files      network   partition, crash, pause, nodes
    demo      the demo                          describe  faults, schema
    doctor    what this machine allows          exits     exit codes and the errors behind them
    certs     certificates for tests            events    the events as they happen
    standard  the standard descriptors          reactions what clients and servers did
    connections  connections, kill: show them   probe     faults one after the other, and their story

Nothing heavy is imported before a command needs it, so that `--help` and completion are quick.
"""

from __future__ import annotations

import click

from chaosproxy import __summary__, __version__
from chaosproxy.cli.certs import certs
from chaosproxy.cli.check import check
from chaosproxy.cli.connections import connections, kill
from chaosproxy.cli.demo import demo
from chaosproxy.cli.describe import faults, schema
from chaosproxy.cli.doctor import doctor
from chaosproxy.cli.events import events
from chaosproxy.cli.live import heal, inject, status
from chaosproxy.cli.network import crash, nodes, partition, pause
from chaosproxy.cli.probe import probe
from chaosproxy.cli.reactions import reactions
from chaosproxy.cli.serve import serve
from chaosproxy.cli.standard import Group

__all__ = ["main"]


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]}, help=f"{__summary__}.")
@click.version_option(__version__, prog_name="chaosproxy")
def main() -> None:
    """Run one of the commands."""


for _command in (
    serve, check, certs, doctor, faults, schema, status, inject, partition, crash, pause, nodes, heal, connections,
    kill, events, reactions, probe, demo,
):  # fmt: skip
    main.add_command(_command)
