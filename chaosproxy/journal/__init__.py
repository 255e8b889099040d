"""The journal: every event, in order, in memory and as JSON lines in a file.

    form      an event as a mapping of JSON values, and back
    ring      the latest events in memory, numbered
"""
