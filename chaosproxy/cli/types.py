"""Option types that click does not have."""

from __future__ import annotations

import click

from chaosproxy.model import Address
from chaosproxy.model.address import parse_address

__all__ = ["ADDRESS"]


class _AddressType(click.ParamType[Address]):
    """`host:port`, `[::1]:port` or `unix:/path`; port 0 picks a free one."""

    name = "address"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        if isinstance(value, Address):
            return value
        try:
            return parse_address(value, lowest_port=0)
        except ValueError as error:
            self.fail(str(error), param, ctx)


ADDRESS = _AddressType()
