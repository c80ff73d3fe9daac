"""A plugin of mmunlearn with one component of each kind and the card of its benchmark."""
