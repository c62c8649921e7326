"""The four special tokens, whose numbers are the same in every tokenizer and every model."""

PAD, UNKNOWN, START, END = range(4)
