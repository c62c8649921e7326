"""Models: one a file, all of them built of `regard.nn`; what they share is in `seq2seq` and `tokens`."""
