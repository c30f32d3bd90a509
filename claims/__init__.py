"""The claims of the article, one parametrised test each."""
