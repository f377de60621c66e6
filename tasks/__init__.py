"""The method, one module a stage, in the order in which a document goes through them:

1. `shard` takes documents from a corpus.       5. `rate` rates every answer by the rubric.
2. `propose` writes problem and reference.      6. `probe` tries the judge with answers whose place is known.
3. `answer` answers without the document.       7. `pair` makes a preference pair of best and worst.
4. `rubric` writes criteria with it in view.    8. `train` makes the next model; 9. `evaluate` measures it.

The folders hold what stages stand on; `ARCHITECTURE.md` is the map. Nothing here decides what runs when: `flows/` does.
"""
