"""The data plane: sockets, timers, and bytes on their way.

Imports run downwards:

    proxy       one running proxy: listener, registry, counts
    http        a proxy and its pipes in HTTP mode
    tls         TLS with clients and servers
    placement   the faults at work on a proxy, and the mode each acts in
    stream      one connection: two pipes and their readers
    sockets     listen, accept and dial
    kernel      filters, pacing and figures of single sockets
    timer       the one timer of the process
"""
