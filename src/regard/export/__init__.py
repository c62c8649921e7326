"""Trained models as other engines take them."""
