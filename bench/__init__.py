"""The benchmark of chaosproxy: run it with `python -m bench` from the repository's root.

It starts chaosproxy and its peers (HAProxy, nginx, socat) on one core, and a small C load generator
with its backends on another, and compares the proxies round by round. Every proxy is a black box: a
command line, a configuration file and two ports.

    stats       medians, and ratios computed round by round        (pure)
    checks      a figure and its target: pass, miss, not measured  (pure)
    report      sections as text, JSON and docs/performance.md     (pure)
    machine     the machine: cores, file limit, ports, noise
    processes   children pinned to a core, their CPU time and memory
    load        the C program: compile it, run it, measure the proxy meanwhile
    peers       how to find, configure and start each proxy
    session     shared by all scenarios: backends, durations, interleaved rounds
    speed       scenarios with the peers: round trips, bulk, connections, memory
    web, tls    scenarios with some peers: HTTP mode and TLS
    faults      scenarios of chaosproxy alone: cost and accuracy of faults
    kernel      scenarios of chaosproxy alone: partitions and pacing
"""
