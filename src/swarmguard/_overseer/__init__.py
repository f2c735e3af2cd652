"""The overseer: who is alive, who is well, and who is restarted when.

Modules: `config`, `values` (what users set and see); `agent`, `transitions`, `machine` (the pure part, which takes the
time as an argument); `core` (its lock, clock and sink); `overseer`, `handle`, `watch`, `supervise` (the faces); `crew`
(tasks that end with a block).
"""
