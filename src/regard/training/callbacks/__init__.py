"""Beside the steps: counting, stopping, keeping weights, saving, showing; only `fit` imports it."""
