"""What `label_efficiency.py` is made of."""
