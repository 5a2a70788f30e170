"""The audit: a chain of records of every mint, refusal and change, in files or in the database."""
