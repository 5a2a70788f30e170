"""Who may call whom: the registry as entries, as files, as rows, and the difference between two."""
