"""The data plane: sockets, timers, and bytes on their way.

    sockets     binding, resetting: what the socket module is asked for
    emitter     the one timer of the process, and whom it wakes
    dial        reaching an upstream
    pipe        one direction of a connection: Forward, Disturb, Discard
    connection  one client and its upstream, from accept to the end of both sockets
    placed      a fault placed on a running proxy
    greeting    a socket before anybody speaks with it
    tls         TLS over a socket's transport, with the manners of TCP
    proxy_tls   what one proxy shakes hands with; tls_files and tls_faults make it from PEM files
    securing    how TLS begins on a connection, and how it fails
    listener    accepting
    proxy       one running proxy
"""
