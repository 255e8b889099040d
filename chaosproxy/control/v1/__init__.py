"""The native REST API, /v1: a set of routes for the control server.

    routes       the table of all: method, path, handler, schemas
    binding      the routes bound to the running program
    proxies      handlers of proxies and connections    faults      of faults and heal
    partitions   of partitions                          nodes       who reaches whom, crash and pause
    about        status, capabilities, fault types
    parsing      bodies → desired state                 views       running state → JSON
    schemas, openapi   the description
"""

from chaosproxy.control.v1.binding import INDEX, v1_routes
from chaosproxy.control.v1.context import Api

__all__ = ["INDEX", "Api", "v1_routes"]
