"""The command line: one command a file, with the table that it prints."""
