"""Claims about containers that are nothing but namespaces."""
