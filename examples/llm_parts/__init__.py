"""Local servers that stand in for the LLM providers in `llm_failover.py`."""
