"""A soak test of `chaosproxy serve`: everything at once, for a while, and nothing may be felt elsewhere.

python -m tests.soak --seconds 120 --seed 7

world     the server under test, its configuration, and its backends
traffic   checksummed connections, and HTTP clients
storm     random faults of every type that come and go, and other changes over REST
abuse     floods and slow clients on the control port, malformed and costly requests
ear       the reader of the log, which is deaf for most of the time
sentinel  a process of its own that measures round trips on an untouched proxy, and /healthz
verdict   what the measurements mean; pure
"""
