"""The native REST API, /v1: a set of routes for the control server.

    routes         the table of all routes: method, path, handler, schemas
    binding        the routes, bound to the running program
    proxies        handlers for proxies and connections
    faults         handlers for faults and heal
    partitions     handlers for partitions
    nodes          handlers for nodes, crash and pause
    about          handlers for status, capabilities and fault types
    events         handler for the stream of events
    event_stream   sends the events of the ring to every reader
    parsing        request bodies → desired state
    views          running state → JSON
    since          reads a time in the past
    schemas        JSON Schemas of the bodies
    event_schemas  the description of the stream of events
    openapi        the OpenAPI document
"""

from chaosproxy.control.v1.binding import INDEX, v1_routes
from chaosproxy.control.v1.context import Api

__all__ = ["INDEX", "Api", "v1_routes"]
