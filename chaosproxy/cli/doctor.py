"""`doctor`: what this machine lets chaosproxy do."""

from __future__ import annotations

import click

from chaosproxy.cli.printing import print_json

__all__ = ["doctor"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Show what this machine and these privileges allow, and how to get what they do not.

    It asks the kernel here and now, for this user; `chaosproxy status` shows what a running
    server was allowed.
    """
    from chaosproxy.net.kernel.capabilities import probe  # loaded late, as in `serve`

    found = probe().all()
    if as_json:
        print_json([one.view() for one in found])
        return
    for one in found:
        if one.available:
            click.echo(f"yes  {one.name}: {one.purpose}")
        else:
            click.echo(f"no   {one.name}: {one.purpose}; {one.lacking}. To get it: {one.remedy}")
