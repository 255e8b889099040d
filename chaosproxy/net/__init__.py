"""The data plane: sockets, timers, and bytes on their way.

    sockets     binding, resetting: what the socket module is asked for
    emitter     the one timer of the process, and whom it wakes
    dial        reaching an upstream
    pipe        one direction of a connection
    sides       what feeds a pipe: Forward, Disturb, Discard
    messages    a pipe in HTTP mode
    follow      what feeds that: most messages are seen through at a glance
    exchanges   what HTTP mode adds to a proxy; copies of requests
    connection  one client and its upstream, from accept to the end of both sockets
    placed      a fault placed on a running proxy
    greeting    a socket before anybody speaks with it
    tls         TLS over a socket's transport, with the manners of TCP
    proxy_tls   what one proxy shakes hands with; tls_files and tls_faults make it from PEM files
    securing    how TLS begins on a connection, and how it fails
    listener    accepting
    proxy       one running proxy
"""
