"""The one-command experiment: which faults to put on one proxy, for how long, and what their reactions show.

    plan       the steps of each plan, as data
    seen       one look at the proxy and its reactions
    trickling  a trickle that tells a read time-out from a deadline
    course     decides at each look: put a fault on, heal it, wait, stop
    summary    the findings, in sentences and as JSON

Pure: no clock, no I/O. `cli.probe` looks, and does as the course says.
"""
