"""Events, named in the past tense, and a small synchronous bus that publishes them.

Each class is one kind of event; its fields become the fields in the log and in REST. The data plane
and the supervisor publish events on the one `Bus`; the log, and everything else that observes,
subscribes to it.

    base          the fields that all events share
    connections   events of connections and messages
    turns         events of turns, and their counts
    changes       events of proxies, faults and partitions
    process       events of the process itself
    services      events of reactions to faults, inferred from the others
    stream        the event of a reader that missed others
    bus           the bus

Invariants:
- An event is published per connection, dial or change of a fault, never per chunk of data.
- Events are never changed. They are not frozen dataclasses, since four are made per connection, and
  a frozen one takes 3 µs to make instead of 1.
- Subscribers are called in the order in which they subscribed, in the loop's thread. An exception
  of one is logged, and the others are called nevertheless.
"""

from chaosproxy.events.base import (
    Event,
    PartitionEvent,
    ProxyEvent,
)
from chaosproxy.events.bus import Bus
from chaosproxy.events.changes import (
    FaultAdded,
    FaultChanged,
    FaultExpired,
    FaultRemoved,
    ListenFailed,
    ListenRecovered,
    PartitionAdded,
    PartitionExpired,
    PartitionFlapped,
    PartitionRemoved,
    ProxyAdded,
    ProxyChanged,
    ProxyRemoved,
)
from chaosproxy.events.connections import (
    ClientEnded,
    ClientHello,
    ConnectionAttempt,
    ConnectionClosed,
    ConnectionOpened,
    DialFailed,
    MessageTouched,
    Met,
    NotFramed,
    PeerEnded,
    ServerEnded,
    TlsFailed,
    TooManyConnections,
)
from chaosproxy.events.process import HeldLimitReached, LeaseExpired, LoopStalled
from chaosproxy.events.services import CircuitClosed, CircuitOpened, ServiceFailedOver, ServiceRecovered
from chaosproxy.events.stream import Lagged
from chaosproxy.events.turns import (
    AnswerCut,
    AnswerLate,
    ClientGaveUp,
    FailedBy,
    HalfClosed,
    Shape,
    TurnEvent,
    TurnFailed,
    TurnRepeated,
    TurnsCounted,
    WaitingFor,
)

__all__ = [
    "AnswerCut",
    "AnswerLate",
    "Bus",
    "CircuitClosed",
    "CircuitOpened",
    "ClientEnded",
    "ClientGaveUp",
    "ClientHello",
    "ConnectionAttempt",
    "ConnectionClosed",
    "ConnectionOpened",
    "DialFailed",
    "Event",
    "FailedBy",
    "FaultAdded",
    "FaultChanged",
    "FaultExpired",
    "FaultRemoved",
    "HalfClosed",
    "HeldLimitReached",
    "Lagged",
    "LeaseExpired",
    "ListenFailed",
    "ListenRecovered",
    "LoopStalled",
    "MessageTouched",
    "Met",
    "NotFramed",
    "PartitionAdded",
    "PartitionEvent",
    "PartitionExpired",
    "PartitionFlapped",
    "PartitionRemoved",
    "PeerEnded",
    "ProxyAdded",
    "ProxyChanged",
    "ProxyEvent",
    "ProxyRemoved",
    "ServerEnded",
    "ServiceFailedOver",
    "ServiceRecovered",
    "Shape",
    "TlsFailed",
    "TooManyConnections",
    "TurnEvent",
    "TurnFailed",
    "TurnRepeated",
    "TurnsCounted",
    "WaitingFor",
]
