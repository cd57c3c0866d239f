"""Programs for people who run or change the guard; each explains itself with --help."""
