"""Local servers that stand for the LLM providers in `llm_failover.py`."""
