"""One file for each heavy library, the only module that imports it, and only when it is used."""
