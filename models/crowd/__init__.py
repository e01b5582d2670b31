"""Crowds: what people of unequal skill say together, and what one more answer would be worth."""
