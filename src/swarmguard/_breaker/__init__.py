"""Circuit breakers, from the bottom up.

`values`, `counting`, `policy` and `config` are values and counts. `periods` and `machine` hold every rule of a circuit,
and are pure. `classify`, `delay` and `observing` call user code. `core` owns the lock, the clock, the sink and the
observer; `permit` is one admitted call. `decorate`, `block` and `breaker` are the faces for users, and `registry` keeps
breakers by name.
"""
