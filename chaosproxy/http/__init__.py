"""HTTP/1 messages: framed while their bytes pass unchanged, matched, and treated by faults. Pure.

    head            the head of a request or response
    parse           the bytes of a head → a head and the framing of its body, with httptools
    framing         the beginnings and ends of messages in a stream
    glance          a cheap test that a chunk is exactly one message
    exchange        a request and its response, and their progress
    exchanges       the exchanges of one connection, in order
    states          the states of a connection, as tables
    effects         the actions that pipes must perform because of them
    conversation    the state that both directions share: exchanges, states, and the unfinished work of faults
    message_stream  one direction: bytes in, Parts out; requests, responses
    context         the state that all connections of one proxy share
    part            a piece of a message on its way through the faults
    stage           the base of message faults; the stages before and behind all of them
    match           the messages that a fault treats; patterns, routes
    rewrite         changes of fields in a head's bytes
    caller          faults that a request asks for itself
    faults          one file per type
"""
