"""The data plane: sockets, timers and forwarded bytes.

Imports run downwards:

    proxy       one running proxy: listener, registry, counts
    front       attach accepted clients and dial the upstream, with TLS where configured
    http        a proxy and its pipes in HTTP mode
    tls         TLS with clients and servers
    placement   the active faults of a proxy, and the mode in which each acts
    stream      one connection: two pipes and their readers
    sockets     listen, accept and dial
    kernel      filters, pacing and statistics of single sockets
    timer       the one timer of the process
"""
