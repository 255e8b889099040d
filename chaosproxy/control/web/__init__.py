"""The control server: one HTTP server for several sets of routes. It does not depend on any API.

    app         the application: routes, guards and problem documents
    route       one method on one path
    server      serves the application on bound sockets
    accepting   accepts clients, several per wake-up of the loop
    connection  one connection of a client, with its time limits
    admission   limits the number of connections, and counts
    complaints  log lines about clients, limited in rate
    guards      checks of the token, the host and the requesting page
    authority   parses the value of Host
    content     reads and decompresses bodies
    body        strict parsing of JSON bodies and queries
    problem     errors → RFC 9457 documents
    turns       the share of the loop that requests have, and the thread for long functions
    rendering   JSON responses in pieces and in pages
    health      /healthz and /readyz
    metrics     /metrics
    wakeups     wakes the readers of a stream together
"""

from chaosproxy.control.web.admission import LIMITS, ControlTally
from chaosproxy.control.web.app import make_app
from chaosproxy.control.web.health import health_routes
from chaosproxy.control.web.metrics import metrics_routes
from chaosproxy.control.web.route import Handler, Route
from chaosproxy.control.web.server import listening

__all__ = [
    "LIMITS", "ControlTally", "Handler", "Route", "health_routes", "listening", "make_app", "metrics_routes",
]  # fmt: skip
