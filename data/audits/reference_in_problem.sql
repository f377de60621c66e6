-- title: Problem gives the reference away
-- meaning: Share of problems (of up to 5,000) that hold at least half of the word 3-grams of their own reference answer.
-- threshold: 0.05
-- direction: at_most
-- blocks: no
-- needs: 10
WITH sample AS (
    SELECT run, round, problem, reference_answer FROM problems WHERE status = 'ok'
    QUALIFY row_number() OVER (PARTITION BY run, round ORDER BY hash(problem_id)) <= 5000
)
SELECT run, round, avg((share >= 0.5)::INT) AS value, count(*) AS n
FROM (SELECT run, round, share_of_ngrams(reference_answer, problem, 3) AS share FROM sample)
WHERE share IS NOT NULL GROUP BY ALL
