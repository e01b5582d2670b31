"""Zooniverse: votes of a project there as votes here, and back: subjects and retirements."""
