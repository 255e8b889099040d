"""The demo: a store with a replica, a client with timeout, back-off and failover, and the proxies between.

    policy   the client's timeout, back-off and failover (pure)
    acts     the expected effect of each act, judged by measurements (pure)
    store    the servers
    client   the client, which sends requests without end
    walk     the acts, played on a real supervisor
    stage    puts everything together
"""

from chaosproxy.demo.stage import Demo

__all__ = ["Demo"]
