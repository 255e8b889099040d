"""TLS handshake: certificates that a client must not accept, and handshakes that come to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast, get_args

from chaosproxy.declare import Choice, param
from chaosproxy.faults.base import Admission, Depth, Fault, Handshake

__all__ = ["TlsHandshake"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsHandshake(Fault):
    """New connections meet TLS that is wrong in one thing; a client that checks breaks off, and should say why.

    `stall` never answers the client until the fault is healed; `reset` resets once the client
    has said its hello. `expired_cert`, `wrong_host` and `unknown_ca` present a certificate that
    is right in everything else: `chaosproxy certs` leaves the CA's key beside the proxy's
    certificate, and it is needed for the first two. `old_version` offers TLS 1.1 at most. The
    proxy must have `listen_tls`. Connections that are open are left alone.
    """

    type: ClassVar[str] = "tls_handshake"
    depth: ClassVar[Depth] = "connection"
    summary: ClassVar[str] = "shakes hands wrongly: certificates a client must not take, old TLS, silence, resets"
    models: ClassVar[str] = "A certificate nobody renewed, a stranger in the middle, a server that hangs before TLS."
    example: ClassVar[str] = "{type: tls_handshake, how: expired_cert}"
    needs_listen_tls: ClassVar[bool] = True

    how: str = param(Choice(*get_args(Handshake)), "what is wrong with it", example="expired_cert")

    def admission(self) -> Admission:
        return Admission(handshake=cast("Handshake", self.how))
