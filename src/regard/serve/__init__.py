"""Trained models over HTTP, and the web page on which people use them."""
