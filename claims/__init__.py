"""The claims of the article "virtual machines vs Docker containers", one parametrised test each."""
