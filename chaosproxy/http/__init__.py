"""HTTP/1 messages: framed while their bytes pass as they came, matched, and treated by faults. Pure.

    head            the head of a request or response
    parse           bytes of one head → a head and the framing of its body, on httptools
    framing         where messages begin and end in a stream
    glance          whether some bytes are exactly one message, cheaply
    exchange        a request and its response, and how far they are
    exchanges       the exchanges of one connection, in order
    states          the states of a connection, as tables
    effects         what a pipe must do because of them
    conversation    exchanges, states and the unfinished work of faults: what both directions share
    message_stream  one direction: bytes in, Parts out; requests, responses
    context         what all connections of one proxy share
    part            a piece of a message on its way through the faults
    stage           what a message fault is; the stages before and behind all of them
    match           which messages a fault treats; patterns, routes
    rewrite         fields changed in a head's bytes
    faults          one file per type
"""
