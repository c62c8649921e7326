"""The applications: each trained from a person's own files, evaluated by its field's metric, and looked into."""
