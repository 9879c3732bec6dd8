"""A parsed format to the program."""
