"""Circuit breakers.

From the pure to the practical: `states` and `config` are values, `trip` and `machine` decide and know no clock and no
lock, `judge` reads outcomes, `gate` is the shell that owns the lock, the clock and the listeners, and `permit`,
`block`, `decorate` and `breaker` are the ways in for users. `registry` keeps breakers by name.
"""
