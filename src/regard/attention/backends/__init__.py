"""Implementations of the mechanism, one file each. They never import each other; `capabilities` tells what each can do."""
