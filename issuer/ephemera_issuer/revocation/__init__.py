"""What was withdrawn before it expired: as entries, and as rows."""
