"""What ``make demo`` does: a whole Keycast in one folder, shown by a real signature through the built-in relay."""
