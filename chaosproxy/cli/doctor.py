"""`doctor`: show the kernel features and the limits that this machine gives chaosproxy."""

from __future__ import annotations

from pathlib import Path

import click

from chaosproxy.cli.files import load_file, prepare_anywhere
from chaosproxy.cli.printing import print_json, print_text
from chaosproxy.model import Config

__all__ = ["doctor"]


@click.command()
@click.argument("config", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(config: Path | None, as_json: bool) -> None:
    """Show the kernel features and the limits of the process.

    For a feature that is not available it says how to enable it. For each limit it says where
    its value comes from, and what happens when it is reached. With CONFIG the limits are those
    of a server that runs this file; otherwise they have their defaults.

    The check runs here and now, with the privileges of this user; `chaosproxy status` shows what
    a running server is allowed.
    """
    from chaosproxy.control.limits import limits_of  # imported late, as in `serve`
    from chaosproxy.net.kernel.capabilities import probe
    from chaosproxy.net.kernel.descriptors import Descriptors, raise_file_limit

    wanted = Config() if config is None else load_file(config, prepare_anywhere)[0].config
    found = probe().all()
    raise_file_limit()  # as `serve` does
    descriptors = Descriptors()
    descriptors.set_max(wanted.max_connections)
    limits = limits_of(wanted, descriptors.limit.control_connections, descriptors)
    if as_json:
        print_json({"capabilities": [one.view() for one in found], "limits": [one.view() for one in limits]})
        return
    for one in found:
        if one.available:
            print_text(f"yes  {one.name}: {one.purpose}")
        else:
            print_text(f"no   {one.name}: {one.purpose}; {one.lacking}. To get it: {one.remedy}")
    for limit in limits:
        print_text(f"limit {limit.name} {limit.text} ({limit.source}): {limit.meaning}. At the limit: {limit.at_limit}")
