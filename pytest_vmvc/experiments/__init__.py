"""One experiment a file: what is provisioned, and which series come out."""
