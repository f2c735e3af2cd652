"""What breakers and overseers both stand on: checked values, moments, the lock, the ordered outbox, wake-ups."""
