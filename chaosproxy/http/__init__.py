"""HTTP/1 messages: framed while their bytes pass as they came, matched, and treated by faults. Pure.

    head          the head of a request or response
    parse         bytes of one head → a head and the framing of its body, on httptools
    framing       where messages begin and end in a stream
    glance        whether some bytes are exactly one message, cheaply
    exchange      a request and its answer, and how far they are
    conversation  what both directions of a connection share
    owed          what faults have begun on it and must bring to an end
    way           one of them; requests and responses
    traffic       what all connections of one proxy share
    part          a piece of a message on its way through the faults
    stage         what a message fault is; what stands before and behind all of them
    match         which messages a fault is for; patterns, routes
    rewrite       fields changed in a head's bytes
    faults        one file per type
"""
