"""Option types that click does not provide."""

from __future__ import annotations

import click

from chaosproxy.errors import BadValue
from chaosproxy.model import Address
from chaosproxy.model.address import parse_address

__all__ = ["ADDRESS"]


class _AddressType(click.ParamType[Address]):
    """`host:port`, `[::1]:port` or `unix:/path`; port 0 picks a free port."""

    name = "address"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        if isinstance(value, Address):
            return value
        try:
            return parse_address(value, lowest_port=0)
        except BadValue as bad:
            self.fail(str(bad), param, ctx)


ADDRESS = _AddressType()
