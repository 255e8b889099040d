"""`doctor`: show what this machine allows chaosproxy to do."""

from __future__ import annotations

import click

from chaosproxy.cli.printing import print_json, print_text

__all__ = ["doctor"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Show what this machine allows, and how to get the rest.

    The check runs here and now, with the privileges of this user; `chaosproxy status` shows what
    a running server is allowed.
    """
    from chaosproxy.net.kernel.capabilities import probe  # imported late, as in `serve`

    found = probe().all()
    if as_json:
        print_json([one.view() for one in found])
        return
    for one in found:
        if one.available:
            print_text(f"yes  {one.name}: {one.purpose}")
        else:
            print_text(f"no   {one.name}: {one.purpose}; {one.lacking}. To get it: {one.remedy}")
