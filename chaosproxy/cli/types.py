"""Option types that click does not provide."""

from __future__ import annotations

import contextlib

import click

from chaosproxy.declare import Duration, Whole
from chaosproxy.errors import BadValue
from chaosproxy.model import Address
from chaosproxy.model.address import parse_address

__all__ = ["ADDRESS", "DURATION", "WholeNumber"]


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


class _DurationType(click.ParamType[float]):
    """`30s`, above 0; as seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return Duration(above_zero=True).read(value)
        except BadValue as bad:
            self.fail(str(bad), param, ctx)


DURATION = _DurationType()


class WholeNumber(click.ParamType[int]):
    """A whole number, refused with the message that the configuration file gives."""

    name = "whole number"

    def __init__(self, kind: Whole) -> None:
        self._kind = kind

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = int(value)
        try:
            return self._kind.read(value)
        except BadValue as bad:
            self.fail(str(bad), param, ctx)
