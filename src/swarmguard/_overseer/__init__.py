"""The overseer: who is alive, who is well, and who is restarted when.

From the pure to the practical: `config` and `values` are what users set and see; `agent` is the record of one agent,
`transitions` the table of its changes, `budget` the count of its restarts, `roster` and `machine` the rules, which know
no clock and no lock; `core` is the shell that owns the lock, the clock and the sink; `handle`, `watch` and `supervise`
are the tasks, which run in a `crew`; and `overseer` is the way in for users.
"""
