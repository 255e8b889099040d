"""The journal: every event, in order, in memory and as JSON lines in a file.

    form      an event as a mapping of JSON values, and back
    ring      the latest events in memory, numbered
    stream    a reader's way through the ring, and the text of Server-Sent Events
    lines     the lines of a file: a header and events, and back
    state     the lines that still hold, for the begin of the next file
    files     read a journal from its files

`observe.journal` writes the files.
"""
