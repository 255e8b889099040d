"""HTTP messages as the faults on them see them: pure, without sockets and clocks.

    head      what stands before a body: RequestHead, ResponseHead
    patterns  globs, regular expressions, and the path of a request's target in one form
    match     which messages a fault is for: Match as declared, Matcher and Rules as used
    routes    a bounded set of names for paths, for metrics
"""
