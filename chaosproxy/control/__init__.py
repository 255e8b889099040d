"""Control: the supervisor, which makes every change, and the APIs that call it."""
