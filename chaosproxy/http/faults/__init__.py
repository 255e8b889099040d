"""Faults on HTTP messages: one file per type, and the table of all.

A new type needs one file, one line in the table below, and its tests.
"""

from chaosproxy.http.faults.abort import HttpAbort
from chaosproxy.http.faults.clock_skew import HttpClockSkew
from chaosproxy.http.faults.corrupt import HttpCorrupt
from chaosproxy.http.faults.delay import HttpDelay
from chaosproxy.http.faults.drop import HttpDropRequest, HttpDropResponse
from chaosproxy.http.faults.duplicate import HttpDuplicate
from chaosproxy.http.faults.headers import HttpHeaders
from chaosproxy.http.faults.reset import HttpReset
from chaosproxy.http.faults.slow_body import HttpSlowBody
from chaosproxy.http.faults.truncate import HttpTruncate
from chaosproxy.http.stage import MessageFault

__all__ = ["MESSAGE_FAULT_TYPES"]

MESSAGE_FAULT_TYPES: dict[str, type[MessageFault]] = {
    fault.type: fault
    for fault in (
        HttpDelay,
        HttpAbort,
        HttpDropRequest,
        HttpDropResponse,
        HttpDuplicate,
        HttpTruncate,
        HttpCorrupt,
        HttpSlowBody,
        HttpHeaders,
        HttpClockSkew,
        HttpReset,
    )
}
"""Every fault type on messages by its name, in the order of the documentation."""
