"""Reactions of clients and servers to faults, inferred from the events of a journal. Pure: no clock, no socket.

    span        a time from its begin to its end
    facts       the events of a journal, by proxy and kind
    window      the times in which faults were active, and those before
    turns       how the turns of a proxy went in a time
    waits       turns that ended unanswered and may be a reaction
    timeouts    the time-outs that waits show
    trickle     whether a time-out is one of silence or a deadline
    gave_up     clients that gave up, and their time-outs
    chains      a failed turn and its repetitions
    backoff     the law that the gaps between attempts follow
    pieces      the pieces of work in a chain of attempts
    rhythm      whether such gaps are the client's usual pauses
    refused     attempts to connect that a fault has kept out
    herd        attempts of several connections that come together
    retries     repetitions of failed work, and their effects
    load        turns answered in a span of time, and the baseline of a window
    attempts    failed attempts, each counted once
    silence     clusters of attempts, and the silences between them
    row         failures in a row before a silence
    breaker     circuit breakers
    bulkhead    the other proxies of a node
    turned_away alternatives that greet a host and do not keep it
    moves       moves of single hosts between alternatives
    failover    failovers inside a service
    returning   turns after a heal, without older ones
    recovery    the time until the load is as before
    aftermath   effects that outlast a window
    news        the claims that are published as events, each once
    advice      false deaths, and time-outs compared
    reactions   all of these, in every window
    story       reactions in sentences
    view        reactions as JSON

Everything here is a function of a journal: the same journal gives the same answer, with any version.
A wrong claim is worse than none. Each claim is `sure` or `likely`; below that nothing is claimed.
"""
