"""The benchmark of chaosproxy: run it with `python -m bench` from the repository's root.

It starts chaosproxy and its peers (HAProxy, nginx, socat) on one core, a small C load generator with
its backends on another, and compares them round by round. Every proxy is a black box here: a command
line, a configuration file and two ports.

    stats       medians, and ratios taken round by round           (pure)
    checks      a figure and its target: pass, miss, not measured  (pure)
    report      sections as text, JSON and docs/performance.md     (pure)
    machine     what this runs on: cores, file limit, ports, noise
    processes   children pinned to a core, their CPU time and memory
    load        the C program: compile, run, measure around its window
    peers       how each proxy is found, configured and started
    session     what all scenarios share: backends, durations, interleaved rounds
    speed       scenarios against the peers
    faults      scenarios of chaosproxy alone: cost and fidelity of faults
"""
