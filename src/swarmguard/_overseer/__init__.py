"""Supervision: which agents are alive, how healthy they are, and when they are restarted.

From the public values down to the lock and up to the public class:

- `config` and `values` are what users set and read.
- `agent` is the record of one agent. `agents`, `freshness` and `restarts` each keep one kind of fact about the records.
- `machine` has every rule, and the table of all changes of health. `emitter` and `snapshots` build its events and
  statuses. All of these are pure: they have no clock and no lock.
- `core` owns the lock, the clock and the sink, and calls the machine.
- `handle`, `run` and `supervise` are the async parts of the public class `Overseer`, in `overseer`. Their tasks are
  started with `tasks`.
"""
