"""The overseer: who is alive, who is well, and who is restarted when.

From the pure to the practical: `config` and `values` are what users set and see; `agent` is the record of one agent,
`transitions` the table of its changes, `restarts` the count of its restarts, `roster` and `machine` the rules, which
have no clock and no lock; `core` owns the lock, the clock and the sink; `tasks` are the tasks that `handle`, `run` and
`supervise` start; and `overseer` is the way in for users.
"""
