"""`doctor`: show the kernel features and the limits that this machine gives chaosproxy."""

from __future__ import annotations

import click

from chaosproxy.cli.printing import print_json, print_text

__all__ = ["doctor"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Show the available kernel features and the limits of the process.

    For a feature that is not available it says how to enable it. The limits are those that
    clients can meet.

    The check runs here and now, with the privileges of this user; `chaosproxy status` shows what
    a running server is allowed.
    """
    from chaosproxy.net.kernel.capabilities import probe  # imported late, as in `serve`
    from chaosproxy.net.kernel.descriptors import Descriptors, raise_file_limit
    from chaosproxy.net.limits import limits_of

    found = probe().all()
    raise_file_limit()  # as `serve` does
    limits = limits_of(Descriptors())
    if as_json:
        print_json({"capabilities": [one.view() for one in found], "limits": [one.view() for one in limits]})
        return
    for one in found:
        if one.available:
            print_text(f"yes  {one.name}: {one.purpose}")
        else:
            print_text(f"no   {one.name}: {one.purpose}; {one.lacking}. To get it: {one.remedy}")
    for limit in limits:
        print_text(f"limit {limit.name} {'none' if limit.value is None else limit.value}: {limit.meaning}")
