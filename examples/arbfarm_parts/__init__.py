"""What `arbfarm.py` is played with: the services that fail, and the terminal that shows it."""
