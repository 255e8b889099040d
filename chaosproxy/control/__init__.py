"""Control: one plan, one supervisor, and the APIs that speak to it."""
