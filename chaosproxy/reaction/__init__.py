"""What clients and servers did about faults, inferred from the events of a journal. Pure: no clock, no socket.

    facts       the events of a journal, by proxy and kind
    window      the times in which faults were active

Everything here is a function of a journal: the same journal gives the same answer, with any version.
A wrong claim is worse than none. Each claim is `sure` or `likely`; below that nothing is claimed.
"""
