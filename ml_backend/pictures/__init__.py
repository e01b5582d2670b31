"""Pictures for people: signed addresses, drawing, and a cache of what was drawn."""
