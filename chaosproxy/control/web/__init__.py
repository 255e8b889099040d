"""The control server: one HTTP server that sets of routes share. It knows none of the APIs.

    app        guards and problem documents around the routes it is given
    route      one method on one path
    server     binds the application to an address
    guards     token, foreign pages                 body     strict JSON and queries
    problem    errors → RFC 9457 documents          health   /healthz, /readyz
    metrics    /metrics
"""

from chaosproxy.control.web.app import make_app
from chaosproxy.control.web.health import health_routes
from chaosproxy.control.web.metrics import metrics_routes
from chaosproxy.control.web.route import Handler, Route
from chaosproxy.control.web.server import listening

__all__ = ["Handler", "Route", "health_routes", "listening", "make_app", "metrics_routes"]
