"""Implementations of the mechanism, a file each; they never import each other. See `capabilities` for what each can."""
