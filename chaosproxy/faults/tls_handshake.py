"""TLS handshake: certificates that a client must not accept, and handshakes that fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast, get_args

from chaosproxy.declare import Choice, param
from chaosproxy.faults.base import Admission, Depth, Fault, Handshake

__all__ = ["TlsHandshake"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsHandshake(Fault):
    """Makes one thing wrong in the TLS of new connections; a correct client ends the handshake and reports why.

    `stall` sends no response until the fault is healed. `reset` resets the connection after the
    ClientHello. `expired_cert`, `wrong_host` and `unknown_ca` present a certificate with only that
    mistake; the first two need the CA's key in the directory of the proxy's certificate, where
    `chaosproxy certs` puts it. `old_version` offers at most TLS 1.1. The proxy must have
    `listen_tls`. Open connections are not affected.
    """

    type: ClassVar[str] = "tls_handshake"
    depth: ClassVar[Depth] = "connection"
    summary: ClassVar[str] = "breaks TLS handshakes: certificates that a client must refuse, old TLS, silence, resets"
    models: ClassVar[str] = "A certificate that was not renewed, a man in the middle, a server that hangs before TLS."
    example: ClassVar[str] = "{type: tls_handshake, how: expired_cert}"
    on_pipes: ClassVar[bool] = False
    needs_listen_tls: ClassVar[bool] = True

    how: str = param(Choice(*get_args(Handshake)), "the mistake in the handshake", example="expired_cert")

    def admission(self) -> Admission:
        return Admission(handshake=cast("Handshake", self.how))
