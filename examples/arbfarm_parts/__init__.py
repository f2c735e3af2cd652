"""The failing services and the terminal output of `arbfarm.py`."""
