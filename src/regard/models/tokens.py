"""The four special tokens, whose numbers are the same in every tokenizer and every model."""

PAD, UNKNOWN, START, END = range(4)
BLANK = PAD  # what CTC says of a position where no token is said: no text has it
