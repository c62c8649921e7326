"""Beside the steps: counting, stopping, saving and showing, which `fit` uses; and `monitoring`, for any Trainer."""
