"""Exams: files of open-ended questions of one's own, put to the candidate and to its parent.

`reading` makes rows of a file, `formats` prompts of rows, `sitting` asks for answers, `marking` asks the judge,
`scoring` has the formulas, `figures` the measures, and `suite` puts them together.
"""
