"""The demo: an embedded store with a replica, a client that defends itself, and the proxies between.

    policy   the client's time-out, back-off and failover (pure)
    acts     what each act has to show, judged on what was measured (pure)
    store    the servers        client   who asks them
    walk     the acts, played on a real supervisor
    stage    all of it put together
"""

from chaosproxy.demo.stage import Demo

__all__ = ["Demo"]
