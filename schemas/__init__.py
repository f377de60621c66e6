"""What is agreed on: configuration, tables, rubrics and ratings, errors, identities."""
