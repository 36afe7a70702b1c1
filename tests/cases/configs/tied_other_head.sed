# hf-bytes: tied, it says, but the file holds another head
s/"tie_word_embeddings": false/"tie_word_embeddings": true/
