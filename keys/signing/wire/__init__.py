"""How Keycast's processes talk: frames over a stream, one line an event loop, many requests at once."""
