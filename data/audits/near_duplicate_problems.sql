-- title: Near-duplicate problems
-- meaning: Share of problems that share at least 0.7 (Jaccard) of their word 3-grams with another one of this or an
--   earlier round. Candidates come from MinHash (16 hashes, 8 bands); each is compared exactly.
-- threshold: 0.05
-- direction: at_most
-- blocks: no
-- needs: 10
WITH problem AS (
    SELECT run, round, problem_id, ngrams(problem, 3) AS grams
    FROM problems WHERE status = 'ok' AND reused_from IS NULL
),
signature AS (
    SELECT run, round, problem_id, grams, list_transform(range(16), lambda seed:
           list_min(list_transform(grams, lambda gram: hash(gram, seed)))) AS lows
    FROM problem WHERE len(grams) >= 3
),
banded AS (
    SELECT run, round, problem_id, grams, band, hash(lows[2 * band + 1], lows[2 * band + 2]) AS bucket
    FROM signature, range(8) b(band)
),
candidate AS (
    SELECT run, round, problem_id, grams, first_value({'round': round, 'problem_id': problem_id, 'grams': grams})
           OVER (PARTITION BY run, band, bucket ORDER BY round, problem_id) AS first
    FROM banded
),
alike AS (
    SELECT DISTINCT run, round, problem_id FROM candidate
    WHERE (problem_id <> first.problem_id OR round <> first.round)
          AND len(list_intersect(grams, first.grams))
              >= 0.7 * (len(grams) + len(first.grams) - len(list_intersect(grams, first.grams)))
)
SELECT p.run, p.round, count(a.problem_id) / count(*) AS value, count(*) AS n
FROM problem p LEFT JOIN alike a USING (run, round, problem_id)
WHERE len(p.grams) >= 3 GROUP BY ALL
