"""What `heads.py` is made of: one part per head."""
