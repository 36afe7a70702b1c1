# hf-pieces: nothing changed; U+2581 in a text is a blank
