"""What people have on disk, and what a model trains on: readers, tokenizers and batches.

Nothing is imported here, because a command should load only what it needs:

* :mod:`regard.data.parallel` reads parallel text (text files, TSV, JSON lines);
* :mod:`regard.data.tokenizer` cuts text into sub-words and puts it together again;
* :mod:`regard.data.batches` makes batches of similar length, in an order that a run can resume.
"""
