"""outthink."""
