"""The native REST API, /v1, with /metrics, /healthz and /readyz beside it.

    routes     the table of all: method, path, handler, schemas
    proxies    handlers of proxies and connections     faults   of faults and heal
    server     status, fault types, metrics, health    app      put together
    wishes     bodies → desired state                  views    running state → JSON
    body       strict JSON and queries                 problem  errors → RFC 9457 documents
    guards     token, foreign pages                    schemas, openapi   the description
"""

from chaosproxy.control.api_v1.app import make_app

__all__ = ["make_app"]
