"""What the failover example needs besides swarmguard."""
