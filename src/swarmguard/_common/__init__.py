"""What breakers and overseers both use: checks of values, moments, the lock, the outbox of events, wake-ups."""
